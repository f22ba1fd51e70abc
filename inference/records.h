// Rows of the commands generate, logprobs and score, checked against the model that will read them.
#pragma once

#include "core/types.h"
#include "data/prompts.h"
#include "inference/model_folder.h"

namespace keel::inference {

struct RecordOptions {
  bool bos = true;
  data::TagPolicy tags = data::TagPolicy::refuse;
};

// Ids to generate from, one row a record. DataError with file:line for rows that the model cannot take.
std::vector<core::Ids> prompts_for(const LanguageModel& model, const data::PromptSet& set, const RecordOptions& options);

// Sequences whose mask is true on what is asked about: the answer, or every id but the first of {"ids"}. {"prompt", "response"} is raw
// text.
std::vector<core::TokenSequence> answers_for(const LanguageModel& model, const data::PromptSet& set, const RecordOptions& options);

// Finished dialogues to score, rendered as in training.
std::vector<core::Ids> dialogues_for(const ScoringModel& model, const data::PromptSet& set, const RecordOptions& options);

}  // namespace keel::inference
