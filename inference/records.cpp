#include "inference/records.h"

#include <fmt/format.h>

#include <algorithm>

#include "data/messages.h"

namespace keel::inference {
namespace {

void check_row(const core::Ids& ids, const policy::LlamaConfig& config) {
  if (ids.empty()) throw std::invalid_argument("there is no token: an empty text without BOS has nothing to go on from");
  if (static_cast<int64_t>(ids.size()) > config.max_position_embeddings)
    throw std::invalid_argument(
        fmt::format("{} tokens are more than the model's context of {}", ids.size(), config.max_position_embeddings));
  for (const int64_t id : ids)
    if (id < 0 || id >= config.vocab_size)
      throw std::invalid_argument(fmt::format("id {} lies outside the model's vocabulary 0..{}", id, config.vocab_size - 1));
}

// Prompt and response as one text; what is not shared with the prompt's own ids is the answer.
core::TokenSequence raw_answer(const data::Tokenizer& tokenizer, const std::string& prompt, const std::string& response, bool bos) {
  const core::Ids head = data::render_text(tokenizer, prompt, bos).ids;
  core::TokenSequence whole = data::render_text(tokenizer, prompt + response, bos);
  const auto shared = std::mismatch(head.begin(), head.end(), whole.ids.begin(), whole.ids.end()).first - head.begin();
  for (size_t i = 0; i < whole.ids.size(); ++i)
    whole.loss_mask[i] = i > 0 && static_cast<std::ptrdiff_t>(i) >= shared;
  return whole;
}

}  // namespace

std::vector<core::Ids> prompts_for(const LanguageModel& model, const data::PromptSet& set, const RecordOptions& options) {
  std::vector<core::Ids> prompts;
  for (const auto& record : set.records)
    data::with_place(set.path, record.line, [&] {
      prompts.push_back(data::prompt_ids(record, model.format, *model.tokenizer, options.tags, options.bos));
      check_row(prompts.back(), model.llama.config);
      if (static_cast<int64_t>(prompts.back().size()) == model.llama.config.max_position_embeddings)
        throw std::invalid_argument(fmt::format("the prompt fills the model's context of {} tokens: there is no room for an answer",
                                                model.llama.config.max_position_embeddings));
    });
  return prompts;
}

std::vector<core::TokenSequence> answers_for(const LanguageModel& model, const data::PromptSet& set, const RecordOptions& options) {
  std::vector<core::TokenSequence> sequences;
  for (const auto& record : set.records)
    data::with_place(set.path, record.line, [&] {
      sequences.push_back(record.text && record.response ? raw_answer(*model.tokenizer, *record.text, *record.response, options.bos)
                                                         : data::answered_sequence(record, model.format, *model.tokenizer, options.tags));
      check_row(sequences.back().ids, model.llama.config);
    });
  return sequences;
}

std::vector<core::Ids> dialogues_for(const ScoringModel& model, const data::PromptSet& set, const RecordOptions& options) {
  std::vector<core::Ids> dialogues;
  for (const auto& record : set.records)
    data::with_place(set.path, record.line, [&] {
      dialogues.push_back(data::answered_sequence(record, model.format, *model.tokenizer, options.tags).ids);
      check_row(dialogues.back(), model.model.backbone.config);
    });
  return dialogues;
}

}  // namespace keel::inference
