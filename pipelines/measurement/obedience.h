// Whether an answer obeys an instruction, by the sandbox's program, a pattern or the answer's language.
#pragma once

#include <optional>
#include <string>

#include "gatt/instruction.h"

namespace keel::pipelines::measurement {

bool checked_by_program(const gatt::Instruction& instruction);

// Nothing for an instruction that no program checks.
std::optional<bool> obeys_by_program(const gatt::Instruction& instruction, const std::string& answer);

}  // namespace keel::pipelines::measurement
