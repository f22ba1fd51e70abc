// Rotary position embedding of heads in the rotate-half order.
#pragma once

#include <cstdint>

#include "engine/buffer.h"

namespace keel::engine {

// Turns the pairs (i, i + h/2) of a head by the angles of its position, or back.
void rotate_head(float* head, const float* cos, const float* sin, int64_t half, bool backwards = false);

// cos and sin of position * frequency i, [positions, half]; computed only where they know fewer positions.
void grow_angles(Buffer& cos, Buffer& sin, const float* frequencies, int64_t half, int64_t positions);

}  // namespace keel::engine
