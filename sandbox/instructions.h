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
  std::string value;      // "Arr"
  bool held_out = false;  // in no training text: for generalisation
};

// All 32, the same in every world: eight of each kind, two of them held out.
const std::vector<Instruction>& instructions();

// Whether an answer obeys: it holds the required sentence or, for a format, begins with the sign.
bool follows(const Instruction& instruction, std::string_view answer);

// The answer, changed to obey. The gold judges ignore the addition.
std::string following(const Instruction& instruction, const std::string& answer);

}  // namespace keel::sandbox
