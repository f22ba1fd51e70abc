// Data of a run on real preference files: pairs split by conversation, the chosen answers as demonstrations, prompts of both kinds.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "core/jsonl.h"
#include "core/log.h"
#include "core/rng.h"
#include "data/messages.h"
#include "data/preferences.h"
#include "data/prompts.h"
#include "pipelines/stages/stages.h"

namespace keel::pipelines::stages {
namespace {

struct Kind {
  std::string name;
  bool hazard;  // prompts of the safety file count as prompts about safety
  std::vector<core::PreferencePair> train, test;
};

Kind read_kind(const std::string& name, bool hazard, const std::string& file, const recipe::Recipe& recipe, uint64_t seed,
               nlohmann::json& counts) {
  data::PreferenceSet set = data::read_preferences(file, {.safety = hazard});
  core::log_info(fmt::format("{}: {}", file, to_line(set.counts)));
  counts[name] = to_json(set.counts);
  Kind kind{.name = name, .hazard = hazard, .train = {}, .test = {}};
  std::vector<int64_t> order = core::permutation(std::ssize(set.pairs), seed, "data." + name, 0);
  for (const int64_t i : order) {
    auto& pair = set.pairs[static_cast<size_t>(i)];
    (data::held_out(pair.prompt, recipe.data.held_out, seed) ? kind.test : kind.train).push_back(std::move(pair));
  }
  counts[name]["train"] = kind.train.size();
  counts[name]["test"] = kind.test.size();
  if (kind.train.empty() || kind.test.empty())
    throw core::DataError(file, 0, "is too small to be split into training and test conversations");
  return kind;
}

// Prompts of all training pairs, where max_pairs keeps some of the pairs from the reward models: later versions ask them nonetheless.
constexpr const char* kUncapped = "_prompts.jsonl";

nlohmann::json row_of_prompt(const core::PreferencePair& pair, bool hazard) {
  nlohmann::json row = {{"messages", data::messages_json(pair.prompt)}, {"hazard", hazard}};
  if (!pair.source.empty()) row["source"] = pair.source;
  return row;
}

// Prompts of one kind on one side of the split, in the data stage's order.
std::vector<nlohmann::json> split_prompts(const std::filesystem::path& data, const std::string& kind, bool hazard, bool test) {
  std::vector<nlohmann::json> rows;
  if (const auto uncapped = data / (kind + kUncapped); !test && std::filesystem::exists(uncapped)) {
    core::JsonlReader reader(uncapped);
    for (nlohmann::json row; reader.next(row);)
      rows.push_back(std::move(row));
    return rows;
  }
  for (const auto& pair : data::read_preferences(data / (kind + (test ? "_test.jsonl" : "_train.jsonl")), {.safety = hazard}).pairs)
    rows.push_back(row_of_prompt(pair, hazard));
  return rows;
}

core::Dialogue with_answer(const core::PreferencePair& pair) {
  core::Dialogue dialogue = pair.prompt;
  dialogue.messages.push_back({"assistant", pair.chosen});
  return dialogue;
}

// Files that take their rows from both kinds in turn.
class Alternating {
 public:
  Alternating(const std::vector<Kind>& kinds, std::vector<core::PreferencePair> Kind::*side)
      : kinds_(kinds), side_(side), next_(kinds.size(), 0) {}

  // The next `count` rows (0 = all), by halves, each through `to_row`.
  template <class ToRow>
  void write(const std::filesystem::path& file, int64_t count, ToRow&& to_row) {
    core::JsonlWriter writer(file);
    const size_t each = count > 0 ? static_cast<size_t>(count) / kinds_.size() : SIZE_MAX;
    bool any = true;
    for (size_t taken = 0; taken < each && any; ++taken) {
      any = false;
      for (size_t kind = 0; kind < kinds_.size(); ++kind) {
        const auto& rows = kinds_[kind].*side_;
        if (next_[kind] == rows.size()) continue;
        writer.write(to_row(kinds_[kind], rows[next_[kind]++]));
        any = true;
      }
    }
    writer.commit();
  }

 private:
  const std::vector<Kind>& kinds_;
  std::vector<core::PreferencePair> Kind::*side_;
  std::vector<size_t> next_;
};

}  // namespace

void write_file_data(const recipe::Recipe& recipe, const run::StageContext& context) {
  nlohmann::json counts;
  const std::vector<Kind> kinds = {read_kind("helpfulness", false, recipe.data.helpful, recipe, context.seed, counts),
                                   read_kind("safety", true, recipe.data.harmless, recipe, context.seed, counts)};
  for (const auto& kind : kinds) {
    const auto write_pairs = [&](const std::string& suffix, const std::vector<core::PreferencePair>& pairs, int64_t most) {
      core::JsonlWriter writer(context.work / (kind.name + suffix));
      for (size_t i = 0; i < pairs.size() && (most == 0 || i < static_cast<size_t>(most)); ++i)
        writer.write(data::preference_json(pairs[i]));
      writer.commit();
    };
    write_pairs("_train.jsonl", kind.train, recipe.data.max_pairs);
    write_pairs("_test.jsonl", kind.test, 0);
  }
  const auto demonstration = [](const Kind&, const core::PreferencePair& pair) -> nlohmann::json {
    return {{"messages", data::messages_json(with_answer(pair))}};
  };
  const auto prompt = [](const Kind& kind, const core::PreferencePair& pair) { return row_of_prompt(pair, kind.hazard); };
  for (const auto& kind : kinds)
    if (recipe.data.max_pairs > 0 && recipe.data.max_pairs < std::ssize(kind.train))
      core::write_jsonl(context.work / (kind.name + kUncapped), kind.train,
                        [&](const core::PreferencePair& pair) { return row_of_prompt(pair, kind.hazard); });
  Alternating(kinds, &Kind::train).write(context.work / "demonstrations.jsonl", recipe.data.max_demonstrations, demonstration);
  Alternating(kinds, &Kind::train).write(context.work / "prompts_train.jsonl", recipe.data.train_prompts, prompt);
  // Test conversations are shared out: what is watched during training is not what the evaluation asks.
  Alternating test(kinds, &Kind::test);
  test.write(context.work / "prompts_test.jsonl", recipe.data.test_prompts, prompt);
  test.write(context.work / "prompts_validation.jsonl", recipe.data.validation_prompts, prompt);
  test.write(context.work / "demonstrations_validation.jsonl", recipe.data.validation_prompts, demonstration);
  core::write_file(context.work / "counts.json", core::dump_json(counts) + "\n");
}

// Prompts of a later version: other training conversations for the policy, and, to compare answers to, these and test conversations in
// the proportion of the split, so that the batch has a test set of its own.
void write_file_prompts(const recipe::Recipe& recipe, const recipe::Version& version, const run::StageContext& context) {
  core::JsonlWriter train(context.work / "prompts_train.jsonl"), compared(context.work / "prompts_comparisons.jsonl");
  for (const auto& [kind, hazard] : {std::pair{"helpfulness", false}, {"safety", true}})
    for (const bool test : {false, true}) {
      const auto prompts = split_prompts(context.inputs.at("data"), kind, hazard, test);
      const auto most = recipe.data.train_prompts / 2;
      const double share = recipe.data.held_out / (1 - recipe.data.held_out);
      // The data stage has shuffled them. Versions take theirs one after the other, V1 the first, and begin again at the end.
      const int64_t all = std::ssize(prompts);
      const auto tested = static_cast<int64_t>(std::llround(static_cast<double>(most) * share));
      const int64_t count = std::min<int64_t>(test ? tested : most, all);
      for (int64_t i = 0; i < count; ++i) {
        const nlohmann::json& row = prompts[static_cast<size_t>(((version.number - 1) * count + i) % all)];
        if (!test) train.write(row);
        compared.write(row);
      }
    }
  train.commit();
  compared.commit();
}

}  // namespace keel::pipelines::stages
