// Demonstrations for supervised fine-tuning, and plain text for pretraining.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/types.h"
#include "data/counts.h"
#include "data/preferences.h"

namespace keel::data {

struct Demonstration {
  core::Dialogue dialogue;          // ends with an assistant turn; empty for plain text
  std::string text;                 // plain text; empty for a dialogue
  std::string source = {};          // of the row; "" = it names none
  std::optional<bool> hazard = {};  // whether it is about safety, where the row says so
};

struct DemonstrationSet {
  std::string path;
  std::vector<Demonstration> rows;
  std::vector<int64_t> lines;  // of each row in `path`; empty for rows that come from no file
  Counts counts;
};

// One row, or nothing when it is well formed but unusable, counted under "no_answer" (ends with a user turn), "empty_answer" (the last
// answer, or a text, holds nothing but blanks) or "weight_0" (no answer is learned). The first of these forms that a row has is read, and
// "hazard" (true or false) and "source" (what is no text is none), each absent or null when unknown; other keys are ignored:
//   {"messages"}               a dialogue; answers with "weight": 0 are context alone
//   {"prompt", "completion"}   prompt: text (dialogue_of_prompt) or messages; completion: text or messages that go on from the prompt
//   {"instruction", "input", "output"}   Alpaca: the input, if there is one, follows the instruction behind an empty line
//   {"text"}                   plain text
// Throws std::invalid_argument for a malformed row, naming the field.
std::optional<Demonstration> parse_demonstration(const nlohmann::json& row, Counts& counts);

// The rows that a row of a file stands for: itself, or {"instruction", "input", "output"} for each of {"instruction", "instances":
// [{"input", "output"}, ...]}. Throws std::invalid_argument for instances of another form.
std::vector<nlohmann::json> demonstration_rows(const nlohmann::json& row);

// A .jsonl file (.gz, .zst), each of its rows' demonstration_rows(). DataError with file:line for a malformed row.
DemonstrationSet read_demonstrations(const std::filesystem::path& path);

struct RenderedDemonstrations {
  std::vector<core::TokenSequence> sequences;
  Counts counts;  // of rendering alone
};

// Dialogues in the chat format, with the loss on the answers that are learned ({"prompt", "completion"}: those of the completion).
// Dialogues that do not fit are dropped ("over_long") or shortened ("oldest_turns"); "weight_0" counts those that lose what they teach by
// it. Text gets BOS and EOS; longer text is cut into pieces of at most max_tokens, so that none of it is lost ("pieces" counts such texts).
// DataError with file:line where render() finds tags or roles out of turn.
RenderedDemonstrations render_demonstrations(const DemonstrationSet& set, ChatFormat format, const Tokenizer& tokenizer,
                                             const RenderLimits& limits);

}  // namespace keel::data
