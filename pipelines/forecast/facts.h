// What a forecast knows of a run's data: how much there is, and how long, after the data stages.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "pipelines/recipe/recipe.h"

namespace keel::pipelines::forecast {

// Rows as a model reads them.
struct Rows {
  double count = 0;
  double tokens = 0;   // of all rows
  double targets = 0;  // of these, the ones that are learned

  double length() const { return count > 0 ? tokens / count : 0; }  // mean, in tokens
  Rows& operator+=(const Rows& other);
};

struct PairRows {
  Rows train, test;  // a pair's tokens: its prompt once and both answers
};

struct Facts {
  Rows demonstrations, demonstrations_validation, pretraining_validation;
  std::map<std::string, std::map<recipe::SourceKind, PairRows>> pairs;  // by data stage
  std::map<recipe::SourceKind, PairRows> gold;
  Rows prompts, prompts_validation, prompts_test;
  double hazards = 0;               // prompts that are about safety
  double dialogues = 0, turns = 0;  // of Ghost Attention, and user turns in each on average
  std::vector<int64_t> answers;     // lengths of demonstrated answers, in tokens

  // Mean length of answers that are cut at `most` tokens: as long as the demonstrated ones, as far as there are any.
  double answer_tokens(int64_t most) const;
};

// Longest answer, in tokens, for which prompts leave room: those of rejection sampling or, without it, of the evaluation.
int64_t answer_limit(const recipe::Recipe& recipe);

// `outputs`: the folders of finished stages by name: "corpus", "data", "data2" and so on. Rendered with the recipe's model and limits.
Facts read_facts(const recipe::Recipe& recipe, const std::map<std::string, std::filesystem::path>& outputs);

}  // namespace keel::pipelines::forecast
