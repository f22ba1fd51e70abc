#include "engine/rotary.h"

#include <cmath>

#include "engine/kernels.h"

namespace keel::engine {

void rotate_head(float* head, const float* cos, const float* sin, int64_t half, bool backwards) {
  const float sign = backwards ? -1 : 1;
  for (int64_t i = 0; i < half; ++i) {
    const float a = head[i], b = head[i + half], s = sign * sin[i];
    head[i] = a * cos[i] - b * s;
    head[i + half] = b * cos[i] + a * s;
  }
}

void grow_angles(Buffer& cos, Buffer& sin, const float* frequencies, int64_t half, int64_t positions) {
  if (positions * half <= cos.size()) return;
  positions = round_up(positions, 256);
  cos.grow(positions * half);
  sin.grow(positions * half);
  for (int64_t position = 0; position < positions; ++position)
    for (int64_t i = 0; i < half; ++i) {
      const float angle = static_cast<float>(position) * frequencies[i];
      cos.data()[position * half + i] = std::cos(angle);
      sin.data()[position * half + i] = std::sin(angle);
    }
}

}  // namespace keel::engine
