#include "data/hh_text.h"

#include <algorithm>
#include <stdexcept>

#include "data/text.h"

namespace keel::data {
namespace {

struct Marker {
  std::string_view text, role;
};
constexpr Marker kMarkers[] = {{"\n\nHuman:", "user"}, {"\n\nAssistant:", "assistant"}};

const Marker* marker_at_start(std::string_view text) {
  for (const Marker& marker : kMarkers) {
    if (text.starts_with(marker.text)) return &marker;
  }
  return nullptr;
}

}  // namespace

bool is_hh_text(std::string_view text) {
  return marker_at_start(text) != nullptr;
}

std::vector<core::Message> split_hh_text(std::string_view text) {
  std::vector<core::Message> turns;
  while (!text.empty()) {
    const Marker* marker = marker_at_start(text);
    if (marker == nullptr) throw std::invalid_argument("the text must begin with \"\\n\\nHuman:\" or \"\\n\\nAssistant:\" (HH-RLHF)");
    text.remove_prefix(marker->text.size());
    const size_t end = std::min(text.find(kMarkers[0].text), text.find(kMarkers[1].text));
    turns.push_back({std::string(marker->role), std::string(strip(text.substr(0, end)))});
    text.remove_prefix(std::min(end, text.size()));
  }
  return turns;
}

core::Dialogue join_turns(std::vector<core::Message> turns) {
  core::Dialogue dialogue;
  for (core::Message& turn : turns) {
    if (!dialogue.messages.empty() && dialogue.messages.back().role == turn.role) {
      dialogue.messages.back().content += "\n" + turn.content;
    } else {
      dialogue.messages.push_back(std::move(turn));
    }
  }
  return dialogue;
}

core::Dialogue dialogue_of_prompt(std::string_view prompt) {
  if (!is_hh_text(prompt)) return {{{"user", std::string(prompt)}}};
  std::vector<core::Message> turns = split_hh_text(prompt);
  if (turns.back().role == "assistant" && turns.back().content.empty()) turns.pop_back();
  if (turns.empty() || turns.back().role != "user") {
    throw std::invalid_argument("a prompt in HH-RLHF text must end with a Human turn or an empty \"\\n\\nAssistant:\"");
  }
  return join_turns(std::move(turns));
}

core::Dialogue dialogue_of_prompt(std::string_view prompt, std::string_view answer) {
  core::Dialogue dialogue = dialogue_of_prompt(prompt);
  dialogue.messages.push_back({"assistant", std::string(is_hh_text(prompt) ? strip(answer) : answer)});
  return dialogue;
}

}  // namespace keel::data
