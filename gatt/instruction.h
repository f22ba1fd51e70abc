// Instructions that every answer of a dialogue must obey (Llama 2 paper, 3.3 and A.3.5): hobbies, languages, public figures, and any other.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "core/rng.h"

namespace keel::gatt {

struct Instruction {
  std::string text;          // "Always act as Napoleon."
  std::string brief = {};    // the terse form that some training dialogues get instead, "Figure: Napoleon."; empty: there is none
  std::string kind = {};     // "hobby", "language", "figure" or a name of one's own; instructions of one kind are not combined
  std::string value = {};    // "Napoleon"; what checkers read
  std::string pattern = {};  // regular expression that an answer matches when it obeys; empty: something else tells
  bool unseen = false;       // kept out of training, for evaluation
  int64_t line = 0;          // in its file
};

// Rows {"text"}, with "short", "kind", "value", "pattern" and "unseen" where wanted, or {"kind", "value"} alone for the kinds "hobby",
// "language" and "figure", whose sentences are built in. DataError with file:line for a malformed row, an empty text, a pattern that does
// not compile, "short" without "text", and a file without rows.
std::vector<Instruction> read_instructions(const std::filesystem::path& path);

// "You enjoy {}.", "Always answer in {}." or "Always act as {}."; std::invalid_argument for another kind.
Instruction instruction_of(const std::string& kind, const std::string& value);
const std::vector<std::string>& built_in_kinds();

// Several instructions as one: their sentences in order.
Instruction combined(const std::vector<Instruction>& parts);

// `count` instructions of different kinds, drawn without order; fewer where there are not so many kinds.
std::vector<Instruction> pick_of_different_kinds(std::vector<Instruction> all, int64_t count, core::Stream& stream);

// 1 to `most` instructions of different kinds, each number equally likely; fewer where there are not so many kinds.
std::vector<Instruction> draw_instructions(const std::vector<Instruction>& all, int64_t most, core::Stream& stream);

// The prompt by which a model lists values of a kind, and the values in its answer: the items of a numbered or bulleted list, or of one
// line between commas; without repeats. Items that are sentences and no names (a refusal, a remark) are dropped and counted.
std::string listing_prompt(const std::string& kind, int64_t count);
struct Listing {
  std::vector<std::string> values;
  int64_t dropped = 0;
};
Listing listed_values(const std::string& answer);

}  // namespace keel::gatt
