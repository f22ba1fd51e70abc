#include "pipelines/measurement/obedience.h"

#include "gatt/dialogues.h"
#include "sandbox/instructions.h"

namespace keel::pipelines::measurement {

bool checked_by_program(const gatt::Instruction& one) {
  return sandbox::find_instruction(one.text) != nullptr || gatt::has_checker(one);
}

std::optional<bool> obeys_by_program(const gatt::Instruction& instruction, const std::string& answer) {
  if (const auto* of_sandbox = sandbox::find_instruction(instruction.text)) return sandbox::follows(*of_sandbox, answer);
  return gatt::obeys_by_pattern_or_language(instruction, answer);
}

}  // namespace keel::pipelines::measurement
