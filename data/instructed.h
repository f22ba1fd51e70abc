// An instruction that is put before a dialogue: by Ghost Attention and by context distillation.
#pragma once

#include <string>

#include "core/config.h"
#include "core/types.h"

namespace keel::data {

// Before the first user turn's text, or in the system turn.
enum class Form { user, system };
constexpr auto names(Form) {
  return std::to_array<core::Named<Form>>({{Form::user, "user"}, {Form::system, "system"}});
}

// `instruction` and the message's text behind a line break.
void join_(core::Message& message, const std::string& instruction);

// Index of the first user turn: 1 behind a system turn, else 0.
size_t first_user_turn(const core::Dialogue& dialogue);

// The dialogue with `instruction` in its first turn alone; a system turn that is there keeps its text behind it.
core::Dialogue instructed(core::Dialogue dialogue, const std::string& instruction, Form form);

}  // namespace keel::data
