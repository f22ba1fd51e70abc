#include "data/instructed.h"

#include <utility>

namespace keel::data {

void join_(core::Message& message, const std::string& instruction) {
  message.content = instruction + "\n" + message.content;
}

size_t first_user_turn(const core::Dialogue& dialogue) {
  return dialogue.messages.at(0).role == "system" ? 1 : 0;
}

core::Dialogue instructed(core::Dialogue dialogue, const std::string& instruction, Form form) {
  const size_t first = first_user_turn(dialogue);
  if (form == Form::user)
    join_(dialogue.messages[first], instruction);
  else if (first == 1)
    join_(dialogue.messages[0], instruction);
  else
    dialogue.messages.insert(dialogue.messages.begin(), {"system", instruction});
  return dialogue;
}

}  // namespace keel::data
