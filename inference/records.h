// Rows of the commands generate, logprobs and score, checked against the model that will read them.
#pragma once

#include <optional>

#include "core/types.h"
#include "data/prompts.h"
#include "inference/model_folder.h"

namespace keel::inference {

struct RecordOptions {
  bool bos = true;
  RenderPolicy limit = {};  // the model's own unless overridden; answers_for() reads allow_tags alone
};

// Ids of one record; `too_long` says why there are none: a record that does not fit fails alone, not the whole file.
struct RecordIds {
  core::Ids ids;
  std::string too_long = {};
  bool shortened = false;  // its oldest turns are left out
};

// Ids to generate from, one row a record, with room for an answer of `max_new_tokens` within the limit, as in training; without a limit the
// model's context leaves room for one token at least. DataError with file:line for malformed rows and ids that the model does not have;
// UsageError where the limit holds no such answer.
std::vector<RecordIds> prompts_for(const LanguageModel& model, const data::PromptSet& set, const RecordOptions& options,
                                   int64_t max_new_tokens);

// Sequences whose mask is true on the answer, or on every id but the first of {"ids"}; {"prompt", "response"} is raw text. Nothing for a
// row that is longer than the model's context.
std::vector<std::optional<core::TokenSequence>> answers_for(const LanguageModel& model, const data::PromptSet& set,
                                                            const RecordOptions& options);

// Finished dialogues to score, rendered as in training: shortened by their oldest turns where the limit says so.
std::vector<RecordIds> dialogues_for(const ScoringModel& model, const data::PromptSet& set, const RecordOptions& options);

}  // namespace keel::inference
