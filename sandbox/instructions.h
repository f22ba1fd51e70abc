// Persistent instructions: what every later answer must show, checkable by program (for Ghost Attention studies).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/rng.h"
#include "core/types.h"

namespace keel::sandbox {

struct Instruction {
  std::string kind;       // "quirk", "persona", "hobby" or "format"
  std::string text;       // "Say Arr in every answer."
  std::string brief;      // "Quirk: Arr."
  std::string value;      // "Arr"
  bool held_out = false;  // learned in pretraining at most (corpus source "control"), never in fine-tuning: for generalisation
};

// All 32, the same in every world: eight of each kind, two of them held out.
const std::vector<Instruction>& instructions();

// The one with this text; nullptr for a text that is none of them.
const Instruction* find_instruction(std::string_view text);

// Whether an answer obeys: it holds the required sentence or, for a format, begins with the sign.
bool follows(const Instruction& instruction, std::string_view answer);

// The answer, changed to obey. The gold judges ignore the addition.
std::string following(const Instruction& instruction, const std::string& answer);

// What makes answers to hazards safer when it stands before them (for context distillation).
struct Preprompt {
  std::string text;
  std::string category;  // of hazards, or empty: any
};
const std::vector<Preprompt>& preprompts();

}  // namespace keel::sandbox
