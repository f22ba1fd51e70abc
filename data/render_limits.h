// The longest sequence that is rendered, and what happens to longer ones.
#pragma once

#include <cstdint>
#include <functional>

#include "core/types.h"
#include "data/chat_format.h"
#include "data/counts.h"

namespace keel::data {

struct RenderLimits {
  int64_t max_tokens = 4096;       // longest sequence, both answers of a pair
  bool drop_oldest_turns = false;  // shorten a longer dialogue by its oldest exchanges, counted as truncated "oldest_turns"
  TagPolicy tags = TagPolicy::refuse;
};

// Shortens a dialogue until it fits, if it may be shortened: by as few of its oldest user turns, with the answers to them, as possible; a
// system turn and the last exchange stay. `render` renders it and gives its length in tokens; it is called last for the dialogue that
// stays. True and counted as kept when it fits, else counted as dropped "over_long".
bool shorten_until_fits_(core::Dialogue& dialogue, const RenderLimits& limits, Counts& counts,
                         const std::function<int64_t(const core::Dialogue&)>& render);

}  // namespace keel::data
