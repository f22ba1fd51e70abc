// Answers of models that become training text.
#pragma once

#include <optional>
#include <string>

#include "core/types.h"
#include "data/chat_format.h"

namespace keel::data {

// Why an answer cannot be learned from; "" if it can. "over_long": there is none, because prompt and answer did not fit; "unfinished" (only
// where `finished_only`); "empty_answer": blanks alone; "tags": it holds tags of the chat format, which `keel sft` would refuse.
std::string unusable(const std::optional<core::Answer>& answer, const ChatFormat& format, bool finished_only);

}  // namespace keel::data
