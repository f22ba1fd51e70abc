#include "data/answers.h"

#include "data/text.h"

namespace keel::data {

std::string unusable(const std::optional<core::Answer>& answer, const ChatFormat& format, bool finished_only) {
  if (!answer) return "over_long";
  if (finished_only && !answer->finished) return "unfinished";
  if (strip(answer->text).empty()) return "empty_answer";
  return holds_tag(format, answer->text) ? "tags" : "";
}

}  // namespace keel::data
