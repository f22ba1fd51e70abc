#include "pipelines/forecast/facts.h"

#include <algorithm>

#include "data/demonstrations.h"
#include "data/preferences.h"
#include "data/prompts.h"
#include "inference/facts.h"
#include "inference/prompts.h"
#include "pipelines/collection/file_data.h"
#include "pipelines/recipe/versions.h"
#include "pipelines/steps/plan.h"
#include "reward/pair_scores.h"

namespace keel::pipelines::forecast {
namespace {

namespace fs = std::filesystem;
using recipe::SourceKind;

Rows rows_of(const std::vector<core::TokenSequence>& sequences) {
  Rows rows{.count = static_cast<double>(sequences.size())};
  for (const core::TokenSequence& sequence : sequences) {
    rows.tokens += static_cast<double>(sequence.ids.size());
    rows.targets += static_cast<double>(std::ranges::count(sequence.loss_mask, true));
  }
  return rows;
}

// What the readers of a run's files share.
struct Reader {
  inference::TextParts parts;
  inference::RenderPolicy policy;

  std::vector<core::TokenSequence> demonstrations(const fs::path& file, int64_t most) const {
    if (!fs::exists(file)) return {};
    return data::render_demonstrations(data::read_demonstrations(file), parts.format, *parts.tokenizer,
                                       inference::limits_within(policy, std::min(most, parts.context)))
        .sequences;
  }

  Rows pairs(const fs::path& file, SourceKind kind) const {
    if (!fs::exists(file)) return {};
    const auto set = data::read_preferences(file, {.safety = kind == SourceKind::safety});
    const auto limits = inference::limits_within(policy, parts.context);
    Rows rows;
    for (const core::TokenPair& pair : data::render_pairs(set, parts.format, *parts.tokenizer, limits).pairs) {
      rows.tokens += static_cast<double>(reward::pair_tokens(pair));
      ++rows.count;
    }
    return rows;
  }

  PairRows split(const fs::path& folder, SourceKind kind) const {
    const std::string name = core::name_of(kind);
    return {.train = pairs(folder / (name + "_train.jsonl"), kind), .test = pairs(folder / (name + "_test.jsonl"), kind)};
  }

  // Prompts that leave room for an answer of `new_tokens`; `hazards` counts those about safety.
  Rows prompts(const fs::path& file, int64_t new_tokens, double& hazards) const {
    Rows rows;
    if (!fs::exists(file)) return rows;
    const int64_t most = std::max<int64_t>(1, (policy.max_tokens > 0 ? policy.max_tokens : parts.context) - new_tokens);
    for (const data::PromptRecord& record : data::read_prompts(file).records) {
      const auto ids = data::prompt_ids(record, parts.format, *parts.tokenizer, data::TagPolicy::allow);
      rows.tokens += static_cast<double>(std::min(std::ssize(ids), most));
      hazards += record.hazard ? 1 : 0;
      ++rows.count;
    }
    return rows;
  }
};

void count_dialogues(const recipe::Recipe& recipe, const std::map<std::string, fs::path>& outputs, Facts& facts) {
  const steps::Source source = steps::gatt_dialogues(recipe);
  for (const auto& record : data::read_prompts(source.stage.empty() ? source.path : outputs.at(source.stage) / source.path).records) {
    facts.turns += record.messages ? static_cast<double>(std::ranges::count(record.messages->messages, "user", &core::Message::role)) : 1;
    ++facts.dialogues;
  }
  if (facts.dialogues > 0) facts.turns /= facts.dialogues;
}

}  // namespace

Rows& Rows::operator+=(const Rows& other) {
  count += other.count;
  tokens += other.tokens;
  targets += other.targets;
  return *this;
}

int64_t answer_limit(const recipe::Recipe& recipe) {
  const auto versions = recipe::versions_of(recipe);
  const bool samples = std::ranges::any_of(versions, [](const auto& version) { return !version.rejection.empty(); });
  return samples ? recipe.rejection.sampling.max_new_tokens : recipe.evaluation.max_new_tokens;
}

double Facts::answer_tokens(int64_t most) const {
  if (answers.empty()) return static_cast<double>(most);
  double sum = 0;
  for (const int64_t length : answers)
    sum += static_cast<double>(std::min(length, most));
  return sum / static_cast<double>(answers.size());
}

Facts read_facts(const recipe::Recipe& recipe, const std::map<std::string, fs::path>& outputs) {
  const bool sandbox = recipe::from_sandbox(recipe);
  Reader reader{.parts = inference::text_parts(sandbox ? outputs.at("corpus") / "tokenizer.model" : fs::path(recipe.model),
                                               recipe.chat_format.empty() && sandbox ? "llama2" : recipe.chat_format),
                .policy = steps::length_limit(recipe)};
  if (sandbox) reader.parts.context = recipe.llama.max_position_embeddings;
  const fs::path& first = outputs.at("data");
  Facts facts;
  const auto demonstrations = reader.demonstrations(first / "demonstrations.jsonl", recipe.sft.batch.row_tokens);
  facts.demonstrations = rows_of(demonstrations);
  facts.demonstrations_validation = rows_of(reader.demonstrations(first / "demonstrations_validation.jsonl", recipe.sft.batch.row_tokens));
  if (sandbox)
    facts.pretraining_validation =
        rows_of(reader.demonstrations(outputs.at("corpus") / "corpus_validation.jsonl", recipe.pretrain.batch.row_tokens));
  for (const auto& sequence : demonstrations) {  // the last answer of a dialogue
    const auto last = std::find(sequence.loss_mask.rbegin(), sequence.loss_mask.rend(), true);
    facts.answers.push_back(std::find(last, sequence.loss_mask.rend(), false) - last);
  }
  for (const auto& [stage, folder] : outputs)
    for (const SourceKind kind : {SourceKind::helpfulness, SourceKind::safety, SourceKind::public_pairs}) {
      if (fs::exists(folder / (core::name_of(kind) + "_train.jsonl"))) facts.pairs[stage][kind] = reader.split(folder, kind);
      if (kind != SourceKind::public_pairs && fs::exists(folder / collection::kGold))
        facts.gold[kind] = reader.split(folder / collection::kGold, kind);
    }
  if (recipe::has_gatt(recipe)) count_dialogues(recipe, outputs, facts);
  const int64_t answer = answer_limit(recipe);
  double held_out_hazards = 0;
  facts.prompts = reader.prompts(first / "prompts_train.jsonl", answer, facts.hazards);
  facts.prompts_validation = reader.prompts(first / "prompts_validation.jsonl", answer, held_out_hazards);
  facts.prompts_test = reader.prompts(first / "prompts_test.jsonl", recipe.evaluation.max_new_tokens, held_out_hazards);
  return facts;
}

}  // namespace keel::pipelines::forecast
