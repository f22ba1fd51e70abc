#include "data/mixture.h"

#include <algorithm>
#include <cmath>

#include "core/rng.h"

namespace keel::data {

int64_t wanted_rest(int64_t own, double share) {
  return std::llround(static_cast<double>(own) * share / (1 - share));
}

std::vector<int64_t> draw_rest(int64_t own, int64_t rest, double share, uint64_t seed) {
  std::vector<int64_t> drawn = core::permutation(rest, seed, "mixture", 0);
  drawn.resize(static_cast<size_t>(std::min(rest, wanted_rest(own, share))));
  std::sort(drawn.begin(), drawn.end());
  return drawn;
}

}  // namespace keel::data
