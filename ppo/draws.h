// Which records an iteration or a step takes: the run goes through all of them in a random order, then again in another.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace keel::ppo {

// Draws `first` to first + count - 1 out of `available` records; round r has the order of the stream (seed, purpose, r), so that the draws
// depend neither on how they are cut into steps nor on interruptions.
std::vector<int64_t> drawn_in_turn(int64_t first, int64_t count, int64_t available, uint64_t seed, const std::string& purpose);

}  // namespace keel::ppo
