// Dialogues written as text, the way of Anthropic's HH-RLHF: "\n\nHuman: ...\n\nAssistant: ...".
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/types.h"

namespace keel::data {

bool is_hh_text(std::string_view text);  // begins with "\n\nHuman:" or "\n\nAssistant:"

// Turns as the markers cut them, without the blanks around them; consecutive turns of one role stay apart. Throws std::invalid_argument
// for text that does not begin with a marker.
std::vector<core::Message> split_hh_text(std::string_view text);

// Consecutive turns of one role joined by a newline.
core::Dialogue join_turns(std::vector<core::Message> turns);

// The dialogue that a "prompt" string stands for: HH text up to the place of the answer ("\n\nAssistant:" at the end, or a user turn),
// or else one user turn. Throws std::invalid_argument when HH text ends inside an assistant turn.
core::Dialogue dialogue_of_prompt(std::string_view prompt);

// The same with its answer. After HH text the blanks around the answer belong to the layout and are left out.
core::Dialogue dialogue_of_prompt(std::string_view prompt, std::string_view answer);

}  // namespace keel::data
