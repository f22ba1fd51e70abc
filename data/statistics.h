// What a set of preference pairs holds: sizes by source as in table 6 of the Llama 2 paper, repeats, and prompts that two sets share.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "data/preferences.h"
#include "data/tokenizer.h"

namespace keel::data {

// One row of table 6. An example is a dialogue up to and including one answer, so a comparison makes two. Tokens count the texts alone,
// without a chat format. The paper does not define its columns; as in its rows, prompt and response add up to the example where there is
// one turn.
struct PairStatistics {
  std::string source;  // "" = not recorded
  int64_t comparisons = 0;
  double turns = 0;                // user turns a dialogue, mean over comparisons
  double tokens_per_example = 0;   // all turns, a system turn too; mean over examples
  double tokens_per_prompt = 0;    // of a user turn; mean over those of all examples
  double tokens_per_response = 0;  // of an assistant turn, earlier ones too; mean over those of all examples
};

// One row a source, in the order of their names, and a last one named "total". Throws DataError with file:line for text that the tokenizer
// refuses.
std::vector<PairStatistics> pair_statistics(const PreferenceSet& set, const Tokenizer& tokenizer);

nlohmann::json to_json(const PairStatistics& row);

// Pairs whose prompt and answers are those of another pair, byte for byte.
struct Repeats {
  int64_t duplicates = 0;      // pairs that repeat an earlier one, choice included
  int64_t contradictions = 0;  // two answers to one prompt that were chosen in both orders
};
Repeats count_repeats(const PreferenceSet& set);

// Pairs of `set` that repeat or contradict one of `earlier`.
Repeats count_repeats_of(const PreferenceSet& earlier, const PreferenceSet& set);

// Equal for the same two answers to the same prompt, whichever was chosen.
std::string unordered_key(const core::PreferencePair& pair);

// Keeps the first of equal pairs; the others are counted as dropped "duplicate".
void drop_duplicates_(PreferenceSet& set);

// Equal for prompts that differ only in blanks and the case of ASCII letters.
std::string prompt_key(const core::Dialogue& prompt);

// Prompts in both sets, by prompt_key.
struct SharedPrompts {
  int64_t prompts = 0;                      // distinct ones
  int64_t train_pairs = 0, test_pairs = 0;  // pairs that have one of them
};
SharedPrompts shared_prompts(const PreferenceSet& train, const PreferenceSet& test);

// Removes pairs from `train` that share a prompt with `test`, counted as dropped "prompt_in_test".
void drop_shared_prompts_(PreferenceSet& train, const PreferenceSet& test);

}  // namespace keel::data
