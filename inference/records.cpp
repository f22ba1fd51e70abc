#include "inference/records.h"

#include <fmt/format.h>

#include <algorithm>

#include "data/messages.h"
#include "data/render_limits.h"
#include "inference/prompts.h"

namespace keel::inference {
namespace {

data::TagPolicy tags_of(const RecordOptions& options) {
  return options.limit.allow_tags ? data::TagPolicy::allow : data::TagPolicy::refuse;
}

void check_ids(const core::Ids& ids, const policy::LlamaConfig& config) {
  if (ids.empty()) throw std::invalid_argument("there is no token: an empty text without BOS has nothing to go on from");
  for (const int64_t id : ids)
    if (id < 0 || id >= config.vocab_size)
      throw std::invalid_argument(fmt::format("id {} lies outside the model's vocabulary 0..{}", id, config.vocab_size - 1));
}

// Renders a record in at most `most` tokens, shortened if allowed; else says that it is too long.
template <class Render>
RecordIds fit(data::PromptRecord record, int64_t most, const RenderPolicy& limit, const policy::LlamaConfig& config, Render&& render) {
  const data::RenderLimits limits = limits_within(limit, most);
  RecordIds result;
  if (!record.messages) {
    result.ids = render(record);
  } else {
    data::Counts ignored;
    core::Dialogue dialogue = *record.messages;
    const size_t turns = dialogue.messages.size();
    data::shorten_until_fits_(dialogue, limits, ignored, [&](const core::Dialogue& left) {
      record.messages = left;
      result.ids = render(record);
      return std::ssize(result.ids);
    });
    result.shortened = dialogue.messages.size() < turns;
  }
  check_ids(result.ids, config);
  if (std::ssize(result.ids) > limits.max_tokens)
    result = {.ids = {}, .too_long = fmt::format("{} tokens are more than the {} that fit", std::ssize(result.ids), limits.max_tokens)};
  return result;
}

// Prompt and response as one text; the ids that the prompt alone does not have are the answer.
core::TokenSequence raw_answer(const data::Tokenizer& tokenizer, const std::string& prompt, const std::string& response, bool bos) {
  const core::Ids head = data::render_text(tokenizer, prompt, bos).ids;
  core::TokenSequence whole = data::render_text(tokenizer, prompt + response, bos);
  const auto shared = std::mismatch(head.begin(), head.end(), whole.ids.begin(), whole.ids.end()).first - head.begin();
  for (size_t i = 0; i < whole.ids.size(); ++i)
    whole.loss_mask[i] = i > 0 && static_cast<std::ptrdiff_t>(i) >= shared;
  return whole;
}

}  // namespace

std::vector<RecordIds> prompts_for(const LanguageModel& model, const data::PromptSet& set, const RecordOptions& options,
                                   int64_t max_new_tokens) {
  std::vector<RecordIds> prompts;
  int64_t most = model.llama.config.max_position_embeddings - 1;  // room for an answer of one token: longer ones end at the context
  if (options.limit.max_tokens > 0) most = std::min(most, room_for_prompt(options.limit.max_tokens, max_new_tokens));
  for (const auto& record : set.records)
    data::with_place(set.path, record.line, [&] {
      prompts.push_back(fit(record, most, options.limit, model.llama.config, [&](const data::PromptRecord& left) {
        return data::prompt_ids(left, model.format, *model.tokenizer, tags_of(options), options.bos);
      }));
    });
  return prompts;
}

std::vector<std::optional<core::TokenSequence>> answers_for(const LanguageModel& model, const data::PromptSet& set,
                                                            const RecordOptions& options) {
  std::vector<std::optional<core::TokenSequence>> sequences;
  for (const auto& record : set.records)
    data::with_place(set.path, record.line, [&] {
      sequences.push_back(record.text && record.response
                              ? raw_answer(*model.tokenizer, *record.text, *record.response, options.bos)
                              : data::answered_sequence(record, model.format, *model.tokenizer, tags_of(options)));
      check_ids(sequences.back()->ids, model.llama.config);
      if (std::ssize(sequences.back()->ids) > model.llama.config.max_position_embeddings) sequences.back().reset();
    });
  return sequences;
}

std::vector<RecordIds> dialogues_for(const ScoringModel& model, const data::PromptSet& set, const RecordOptions& options) {
  std::vector<RecordIds> dialogues;
  const policy::LlamaConfig& config = model.shape;
  for (const auto& record : set.records)
    data::with_place(set.path, record.line, [&] {
      data::PromptRecord dialogue = record;
      if (!record.ids) {  // a text of several turns is shortened as training did
        dialogue.messages = data::answered_dialogue(record);
        dialogue.text.reset();
        dialogue.response.reset();
      }
      dialogues.push_back(fit(dialogue, config.max_position_embeddings, options.limit, config, [&](const data::PromptRecord& left) {
        return data::answered_sequence(left, model.format, *model.tokenizer, tags_of(options)).ids;
      }));
    });
  return dialogues;
}

}  // namespace keel::inference
