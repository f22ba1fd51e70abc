// The rows of a team's own files, as the data stages of a run share them out: read, checked, put in a random order and divided by
// conversation.
#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/types.h"
#include "data/chat_format.h"
#include "data/mixture.h"
#include "pipelines/recipe/data.h"
#include "pipelines/steps/step.h"

namespace keel::pipelines::collection {

// A source as the stage's key has it; its files are the inputs whose role is its kind.
struct GivenSource {
  recipe::SourceConfig source;
  int64_t files = 1;
};

inline void visit(GivenSource& given, core::Fields& fields) {
  visit(given.source, fields);
  fields("files", given.files, "number of files");
}

struct GivenSettings {
  recipe::FileDataConfig data;
  std::vector<GivenSource> sources;
  int64_t batch = 1;
  data::ChatFormat chat = data::ChatFormat::none;  // the recipe's; none: the model's own
  bool allow_tags = false;
};

inline void visit(GivenSettings& settings, core::Fields& fields) {
  fields.section("data", settings.data, "shares and sizes");
  fields.objects("sources", settings.sources, "sources");
  fields("batch", settings.batch, "N of VN");
  fields.section("chat", settings.chat, "chat format whose tags are refused; none = the model folder's own");
  fields("allow_tags", settings.allow_tags, "tags are kept as plain text");
}

using Pairs = std::vector<core::PreferencePair>;

// Pairs of one kind. Gold ones train the gold reward models and nothing else.
struct KindOfPairs {
  recipe::SourceKind kind = recipe::SourceKind::helpfulness;
  bool hazard = false;  // pairs about safety: their prompts count as prompts about safety
  Pairs train, test, gold_train, gold_test;
};

// A prompt, and an answer to it where the data has one.
struct Item {
  core::Dialogue prompt;
  std::string answer, source;
  bool hazard = false;
};
using ByHazard = std::array<std::vector<Item>, 2>;  // harmless ones, those about safety

struct Prompts {
  ByHazard train, test;
};

struct GivenDemonstration {
  nlohmann::json json;  // as demonstrations.jsonl has it
  std::string opening;  // data::opening_turn of its dialogue; "" for plain text
  bool hazard = false;
};

// A row and the weight of its source.
template <class Row>
struct Weighted {
  Row row;
  double weight = 1;
};

// Rows as often as their weights say.
template <class Row>
std::vector<Row> by_weight(const std::vector<Weighted<Row>>& rows, uint64_t seed, const std::string& kind) {
  std::vector<double> weights;
  for (const auto& row : rows)
    weights.push_back(row.weight);
  std::vector<Row> used;
  for (const int64_t i : data::repeat_by_weight(weights, seed, "data." + kind))
    used.push_back(rows[static_cast<size_t>(i)].row);
  return used;
}

// Each adds what it counted to `counts`, and throws DataError for malformed rows, for a tag of the chat format of "model" in one (unless
// tags are kept), and for a file that holds nothing that can be used.
// A conversation is on one side for all of its rows, whatever source and batch they are from. No pairs where no source has the kind;
// DataError where there are too few to be divided.
KindOfPairs read_pairs(const GivenSettings& settings, const steps::Context& context, recipe::SourceKind kind, nlohmann::json& counts);
Prompts read_prompts(const GivenSettings& settings, const steps::Context& context, nlohmann::json& counts);
std::vector<Weighted<GivenDemonstration>> read_demonstrations(const GivenSettings& settings, const steps::Context& context,
                                                              nlohmann::json& counts);

// Rows of pretraining text, each as often as its source's weight says (the paper up-samples its most factual sources).
std::vector<nlohmann::json> read_documents(const GivenSettings& settings, const steps::Context& context);

}  // namespace keel::pipelines::collection
