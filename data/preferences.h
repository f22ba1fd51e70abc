// Preference pairs: reading them in the field's formats, and rendering them for a reward model.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/types.h"
#include "data/chat_format.h"
#include "data/counts.h"
#include "data/render_limits.h"

namespace keel::data {

struct PreferenceSet {
  std::string path;
  std::vector<core::PreferencePair> pairs;
  std::vector<int64_t> lines;  // of each pair in `path`; empty for pairs that come from no file
  Counts counts;
};

struct PreferenceOptions {
  bool safety = false;  // safety data: a pair whose chosen answer is unsafe and whose rejected one is safe is dropped (paper A.3.1)
};

// One row, or nothing when it is well formed but unusable, which is counted in `counts` under
//   prompts_differ     the two sides answer different prompts (HH-RLHF: the texts differ before the last "\n\nAssistant:")
//   no_answer          a side ends with a user turn
//   assistant_first    an HH-RLHF text begins with an assistant turn
//   empty_answer, identical_answers   judged without surrounding blanks
//   unsafe_chosen      see PreferenceOptions
// Throws std::invalid_argument for a malformed row, naming the field. Accepted:
//   {"prompt", "chosen", "rejected"}   prompt: text (dialogue_of_prompt) or messages; answers: text, or one assistant message in a list
//   {"chosen", "rejected"}             whole dialogues: messages or HH-RLHF text
// The prompt of whole dialogues is what both share. A "prompt" beside them must repeat one of its turns, else the row counts as
// prompts_differ. Also read are "strength" 1..4, "chosen_safe", "rejected_safe" (booleans), "source" (text) and "batch" (text or integer),
// each absent or null when unknown. Other keys are ignored.
std::optional<core::PreferencePair> parse_preference(const nlohmann::json& row, const PreferenceOptions& options, Counts& counts);

// What an annotator may add to a row; absent or null is unknown. std::invalid_argument, naming the field, for anything else.
int parse_strength(const nlohmann::json& row);                                        // "strength" 1..4; 0 = unknown
std::optional<bool> parse_label(const nlohmann::json& row, const std::string& name);  // true or false

// A row that parse_preference reads back equal.
nlohmann::json preference_json(const core::PreferencePair& pair);

// A .jsonl file (.gz, .zst). DataError with file:line for a malformed row.
PreferenceSet read_preferences(const std::filesystem::path& path, const PreferenceOptions& options = {});

// Both sides finished, for the reward model; nothing (counted as dropped "over_long") when the longer one does not fit. The same turns
// are left out on both sides. Throws what render() throws.
std::optional<core::TokenPair> render_pair(const core::PreferencePair& pair, ChatFormat format, const Tokenizer& tokenizer,
                                           const RenderLimits& limits, Counts& counts);

struct RenderedPairs {
  std::vector<core::TokenPair> pairs;
  std::vector<size_t> rows;  // index of each in PreferenceSet::pairs
  Counts counts;             // of rendering alone
};

// All pairs of a set; DataError with file:line where render() finds tags or roles out of turn.
RenderedPairs render_pairs(const PreferenceSet& set, ChatFormat format, const Tokenizer& tokenizer, const RenderLimits& limits);

}  // namespace keel::data
