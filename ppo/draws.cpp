#include "ppo/draws.h"

#include "core/rng.h"

namespace keel::ppo {

std::vector<int64_t> drawn_in_turn(int64_t first, int64_t count, int64_t available, uint64_t seed, const std::string& purpose) {
  std::vector<int64_t> chosen, order;
  int64_t round = -1;
  for (int64_t i = first; i < first + count; ++i) {
    if (i / available != round) {
      round = i / available;
      order = core::permutation(available, seed, purpose, static_cast<uint64_t>(round));
    }
    chosen.push_back(order[static_cast<size_t>(i % available)]);
  }
  return chosen;
}

}  // namespace keel::ppo
