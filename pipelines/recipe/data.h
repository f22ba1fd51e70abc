// Data of a run: the built-in sandbox, or a team's own sources.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "core/config.h"

namespace keel::pipelines::recipe {

enum class SourceKind { helpfulness, safety, public_pairs, demonstrations, prompts, pretraining };
constexpr auto names(SourceKind) {
  return std::to_array<core::Named<SourceKind>>({{SourceKind::helpfulness, "helpfulness"},
                                                 {SourceKind::safety, "safety"},
                                                 {SourceKind::public_pairs, "public"},
                                                 {SourceKind::demonstrations, "demonstrations"},
                                                 {SourceKind::prompts, "prompts"},
                                                 {SourceKind::pretraining, "pretraining"}});
}

constexpr bool holds_pairs(SourceKind kind) {
  return kind == SourceKind::helpfulness || kind == SourceKind::safety || kind == SourceKind::public_pairs;
}

// One source: files of one kind of rows.
struct SourceConfig {
  std::string path = {};
  SourceKind kind = SourceKind::helpfulness;
  double weight = 1;
  std::string source = {};
  int64_t batch = 1;
  std::string date = {};
  bool hazard = false;
};

inline void visit(SourceConfig& config, core::Fields& fields) {
  fields("path", config.path, "a file (.jsonl or .json, also .gz, .zst; .parquet), a pattern like week1/*.jsonl, or a folder of such files",
         core::unkeyed());
  fields(
      "kind", config.kind,
      "what its rows are: helpfulness, safety or public preference pairs, demonstrations for SFT, prompts for the policy, or pretraining "
      "text for PPO's ptx");
  fields("weight", config.weight, "how often a training row is used in each pass: 1 once, 2 twice, 0.5 half of the rows",
         {.rule = "between 0.01 and 100 (leave a source out that nothing should learn from)",
          .number = [](double value) { return value >= 0.01 && value <= 100; },
          .text = {}});
  fields("source", config.source, "name of the source, for rows that name none");
  fields("batch", config.batch, "pairs and prompts: the version that they are collected for, 1 for V1", core::at_least(1));
  fields("date", config.date, "day of collection, YYYY-MM-DD; batches must follow one another");
  fields("hazard", config.hazard, "demonstrations and prompts: whether they are about safety, for rows that do not say");
}

// How sources are shared out (the data stages of a run on real data).
struct FileDataConfig {
  double held_out = 0.2;
  double gold_share = 0;
  int64_t train_prompts = 1024;       // for rejection sampling and PPO, half of each kind
  int64_t validation_prompts = 64;    // for evaluation.split "validation", and as many demonstrations to validate SFT
  int64_t test_prompts = 200;         // for evaluation, half of each kind
  int64_t max_demonstrations = 2000;  // half of each kind
  double safety_used = 1;             // of the demonstrations for safety
  int64_t max_pairs = 0;
};

inline void visit(FileDataConfig& config, core::Fields& fields) {
  fields("held_out", config.held_out, "share of the conversations kept for testing", core::between(0.01, 0.9));
  fields("gold_share", config.gold_share,
         "share of the conversations that train gold reward models, which judge every model and which no other model learns from; 0 = none",
         core::between(0, 0.9));
  fields("train_prompts", config.train_prompts, "prompts for rejection sampling and PPO, half of each kind", core::at_least(2));
  fields("validation_prompts", config.validation_prompts, "prompts of evaluation.split \"validation\", and demonstrations to validate SFT",
         core::at_least(2));
  fields("test_prompts", config.test_prompts, "prompts of the evaluation, half of each kind", core::at_least(2));
  fields("max_demonstrations", config.max_demonstrations,
         "chosen answers that SFT learns from where no source holds demonstrations; 0 = all", core::at_least(0),
         {"SFT", "chosen answers as demonstrations"});
  fields("safety_used", config.safety_used, "share of the demonstrations about safety that is used; the others stay", core::between(0, 1),
         {"SFT"});
  fields("max_pairs", config.max_pairs,
         "given training pairs of a batch that each reward model learns from; 0 = all. Prompts come from all", core::at_least(0));
}

enum class DataSource { sandbox, files };
constexpr auto names(DataSource) {
  return std::to_array<core::Named<DataSource>>({{DataSource::sandbox, "sandbox"}, {DataSource::files, "files"}});
}

struct DataConfig : FileDataConfig {
  DataSource source = DataSource::sandbox;
  std::vector<SourceConfig> sources;
  std::string helpful, harmless;  // a short form: one file each of the kinds helpfulness and safety
  int64_t max_tokens = 512;
  bool drop_oldest_turns = true;
  bool allow_tags = false;
};

inline void visit(DataConfig& config, core::Fields& fields) {
  fields("source", config.source, "the built-in sandbox, or files");
  fields.objects("sources", config.sources, "where the data lies, in batches", {"path", "kind"});
  fields("helpful", config.helpful, "short for a source of the kind helpfulness", core::unkeyed());
  fields("harmless", config.harmless, "short for a source of the kind safety", core::unkeyed());
  fields("max_tokens", config.max_tokens, "longest rendered dialogue in tokens; longer ones are dropped and counted", core::at_least(16));
  fields("drop_oldest_turns", config.drop_oldest_turns, "shorten a longer prompt by its oldest turns (counted) instead of dropping it");
  fields("allow_tags", config.allow_tags, "keep chat-format tags in messages as plain text instead of refusing them");
  visit(static_cast<FileDataConfig&>(config), fields);
}

// All sources, the short form first.
std::vector<SourceConfig> sources_of(const DataConfig& config);

bool has_source(const DataConfig& config, SourceKind kind);
bool has_source(const DataConfig& config, SourceKind kind, int64_t batch);

// One file of a source. `name` is what run.json calls it, so that no key holds a path: "data.safety2.0.1" is the second file of the first
// source of safety pairs for V2; files of the short form are "data.helpful" and "data.harmless".
struct SourceFile {
  std::string name;
  std::filesystem::path path;
};

// The files of every one of sources_of(), those of a folder or pattern in the order of their names. A source that matches nothing has the
// files that `recorded`, the digests of an earlier run, names, with empty paths, or none.
std::vector<std::vector<SourceFile>> files_of(const DataConfig& config, const std::map<std::string, std::string>& recorded);

// UsageError, naming the setting, for a source that matches no file, and for a file that two sources of one kind hold.
void check_source_files(const DataConfig& config);

// Every violated rule of the sources of a run with so many versions.
std::vector<std::string> source_problems(const DataConfig& config, int64_t versions);

}  // namespace keel::pipelines::recipe
