// The initial data of a run on the sandbox: corpus, tokenizer, demonstrations, prompts.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/jsonl.h"
#include "data/messages.h"
#include "data/sentencepiece_training.h"
#include "pipelines/steps/plan.h"
#include "sandbox/prompts.h"

namespace keel::pipelines::collection {
namespace {

nlohmann::json document_row(const sandbox::Document& document) {
  nlohmann::json row = {{"source", document.source}};
  if (document.dialogue.messages.empty())
    row["text"] = document.text;
  else
    row["messages"] = data::messages_json(document.dialogue);
  return row;
}

// Training text of the tokenizer: the text of each turn with the tags that the chat format puts around it.
std::vector<std::string> tokenizer_texts(const std::vector<sandbox::Document>& corpus) {
  constexpr size_t kDocuments = 20000;
  std::vector<std::string> texts;
  for (size_t i = 0; i < std::min(corpus.size(), kDocuments); ++i) {
    if (corpus[i].dialogue.messages.empty()) texts.push_back(corpus[i].text);
    for (const auto& message : corpus[i].dialogue.messages)
      texts.push_back(message.role == "user" ? "[INST] " + message.content + " [/INST]" : message.content);
  }
  return texts;
}

void write_data(const recipe::SandboxDataConfig& config, const steps::Context& context) {
  const sandbox::World world = sandbox::make_world(context.seed);
  const auto corpus = sandbox::make_corpus(world, config.corpus, context.seed);
  sandbox::CorpusConfig few = config.corpus;
  few.documents = 400;
  core::write_jsonl(context.work / "corpus.jsonl", corpus, document_row);
  core::write_jsonl(context.work / "corpus_validation.jsonl", sandbox::make_corpus(world, few, context.seed + 1), document_row);

  const auto dialogue_row = [](const core::Dialogue& dialogue) -> nlohmann::json { return {{"messages", data::messages_json(dialogue)}}; };
  sandbox::DemonstrationConfig held_out = config.demonstrations;
  held_out.count = std::max<int64_t>(50, held_out.count / 10);
  core::write_jsonl(context.work / "demonstrations.jsonl", sandbox::make_demonstrations(world, config.demonstrations, context.seed),
                    dialogue_row);
  core::write_jsonl(context.work / "demonstrations_validation.jsonl", sandbox::make_demonstrations(world, held_out, context.seed + 1),
                    dialogue_row);

  const auto write_prompts = [&](const char* name, sandbox::Split split, const sandbox::PromptCounts& counts) {
    core::write_jsonl(context.work / name, sandbox::make_prompts(world, split, counts, context.seed), sandbox::to_json);
  };
  write_prompts("prompts_train.jsonl", sandbox::Split::train,
                {.helpful = config.helpful_prompts, .hazard = config.hazard_prompts, .lookalike = config.lookalike_prompts});
  write_prompts("prompts_validation.jsonl", sandbox::Split::validation,
                {.helpful = config.helpful_prompts / 4, .hazard = config.hazard_prompts / 4, .lookalike = config.lookalike_prompts / 4});
  write_prompts("prompts_test.jsonl", sandbox::Split::test,
                {.helpful = config.test_helpful, .hazard = config.test_hazard, .lookalike = config.test_lookalike});
  try {
    data::train_sentencepiece(tokenizer_texts(corpus), config.vocab_size, context.work / "tokenizer.model");
  } catch (const std::invalid_argument& error) {
    throw core::ConfigError({fmt::format("sandbox.vocab_size {}: {}", config.vocab_size, error.what())});
  }
}

}  // namespace

void add_sandbox_data(steps::Plan& plan) {
  if (recipe::from_sandbox(plan.recipe)) plan.add(steps::make_step<recipe::SandboxDataConfig>("data", plan.recipe.sandbox, {}, write_data));
}

}  // namespace keel::pipelines::collection
