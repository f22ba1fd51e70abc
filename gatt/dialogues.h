// Ghost Attention (Llama 2 paper, 3.3): dialogues whose instruction stood in every user turn when the model answered, and stands in the
// first turn alone when it learns. The last answer is learned, what comes before it is context.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/config.h"
#include "core/types.h"
#include "data/chat_format.h"
#include "data/counts.h"
#include "data/instructed.h"
#include "gatt/instruction.h"

namespace keel::gatt {

struct GattConfig {
  int64_t most_combined = 3;  // paper: combined at random
  double shortened = 0.5;     // paper: half of the time
  data::Form form = data::Form::user;
  bool finished_only = true;  // not in the paper; an answer cut at the length limit would teach the model not to stop
  bool obeyed_only = false;   // not in the paper; an answer that forgets the instruction would teach the model to forget it
};

inline void visit(GattConfig& config, core::Fields& fields) {
  fields("most_combined", config.most_combined, "most instructions of one dialogue, of different kinds; 1 to this many are equally likely",
         core::between(1, 100));
  fields("shortened", config.shortened, "share of the dialogues that learn from the short form of their instruction, where it has one",
         core::between(0, 1));
  fields("form", config.form, "where the instruction stands: in the first user turn, or in the system turn");
  fields("finished_only", config.finished_only, "learn answers that ended by themselves alone: a dialogue ends with its last such answer");
  fields("obeyed_only", config.obeyed_only,
         "the same for answers that obey the instruction, as far as a program can tell (pattern, language, the sandbox's checks)");
}

// Answers to prompts (dialogues that end with a user turn), all of them at the exchange `turn`, from 1. `records` names each prompt's
// dialogue, so that an answer's random draws depend on (dialogue, turn) alone. Nothing where prompt and answer do not fit the context.
using AnswerPrompts = std::function<std::vector<std::optional<core::Answer>>(const std::vector<core::Dialogue>& prompts,
                                                                             const std::vector<int64_t>& records, int64_t turn)>;

struct GattDialogue {
  core::Dialogue messages;  // as it is learned
  std::string instruction;  // as it stood in every user turn
  bool shortened = false;   // it is learned in its short form
  int64_t record = 0;       // index of the given dialogue
};

struct GattData {
  std::vector<GattDialogue> dialogues;
  data::Counts counts;  // dropped: no answer can be learned; truncated: the dialogue ends early; both by reason: "over_long",
                        // "empty_answer" and "tags" (the next answer holds tags of the chat format) end a dialogue before that answer,
                        // "unfinished" and "disobeyed" after the last answer that ended by itself and obeys
};

// Whether an answer obeys an instruction; nothing where it cannot be told.
using ObeysOne = std::function<std::optional<bool>(const Instruction&, const std::string& answer)>;

// By the instruction's pattern or, for the kind "language", the answer's language. Nothing for an instruction without has_checker().
std::optional<bool> obeys_by_pattern_or_language(const Instruction& instruction, const std::string& answer);
bool has_checker(const Instruction& instruction);

// Answers every user turn of `dialogues` anew under an instruction drawn for each, turn by turn. `format`: whose tags no answer may hold;
// `obeys` is asked with config.obeyed_only alone, and what it cannot tell counts as obeyed.
GattData make_dialogues(const std::vector<core::Dialogue>& dialogues, const std::vector<Instruction>& instructions,
                        const GattConfig& config, const data::ChatFormat& format, uint64_t seed, const AnswerPrompts& answer,
                        const ObeysOne& obeys = obeys_by_pattern_or_language);

// The dialogue with `instruction` before the text of each user turn; the system form has it in the system turn for the first one.
core::Dialogue instructed_everywhere(core::Dialogue dialogue, const std::string& instruction, data::Form form);

}  // namespace keel::gatt
