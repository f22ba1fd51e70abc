#include "data/render_limits.h"

namespace keel::data {

bool drop_oldest_exchange_(core::Dialogue& dialogue) {
  auto& messages = dialogue.messages;
  const int first = !messages.empty() && messages[0].role == "system" ? 1 : 0;
  const int turns = static_cast<int>(messages.size()) - first;
  if (turns < 3) return false;  // user, or user and assistant: the last exchange
  messages.erase(messages.begin() + first, messages.begin() + first + 2);
  return true;
}

bool shorten_until_fits_(core::Dialogue& dialogue, const RenderLimits& limits, Counts& counts,
                         const std::function<int64_t(const core::Dialogue&)>& render) {
  for (bool shortened = false;; shortened = true) {
    if (render(dialogue) <= limits.max_tokens) {
      ++counts.kept;
      if (shortened) ++counts.truncated["oldest_turns"];
      return true;
    }
    if (!limits.drop_oldest_turns || !drop_oldest_exchange_(dialogue)) break;
  }
  ++counts.dropped["over_long"];
  return false;
}

}  // namespace keel::data
