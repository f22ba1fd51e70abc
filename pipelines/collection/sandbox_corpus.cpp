// The pretraining text of a run on the sandbox, and the tokenizer that is trained on it.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/jsonl.h"
#include "data/messages.h"
#include "data/sentencepiece_training.h"
#include "pipelines/steps/plan.h"

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

void write_corpus(const recipe::SandboxCorpusConfig& config, const steps::Context& context) {
  const sandbox::World world = sandbox::make_world(context.seed);
  const auto corpus = sandbox::make_corpus(world, config.corpus, context.seed);
  sandbox::CorpusConfig few = config.corpus;
  few.documents = 400;
  core::write_jsonl(context.work / "corpus.jsonl", corpus, document_row);
  core::write_jsonl(context.work / "corpus_validation.jsonl", sandbox::make_corpus(world, few, context.seed + 1), document_row);
  try {
    data::train_sentencepiece(tokenizer_texts(corpus), config.vocab_size, context.work / "tokenizer.model");
  } catch (const std::invalid_argument& error) {
    throw core::ConfigError({fmt::format("sandbox.vocab_size {}: {}", config.vocab_size, error.what())});
  }
}

}  // namespace

void add_sandbox_corpus(steps::Plan& plan) {
  if (recipe::from_sandbox(plan.recipe))
    plan.add(steps::make_step<recipe::SandboxCorpusConfig>("corpus", plan.recipe.sandbox, {}, write_corpus));
}

}  // namespace keel::pipelines::collection
