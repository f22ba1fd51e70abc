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

std::vector<int64_t> repeat_by_weight(const std::vector<double>& weights, uint64_t seed, const std::string& purpose) {
  std::vector<int64_t> rows;
  for (size_t i = 0; i < weights.size(); ++i) {
    const double whole = std::floor(weights[i]);
    const bool once_more = core::Stream(seed, purpose + ".weight", i).chance(weights[i] - whole);
    rows.insert(rows.end(), static_cast<size_t>(whole) + (once_more ? 1 : 0), static_cast<int64_t>(i));
  }
  if (std::all_of(weights.begin(), weights.end(), [](double weight) { return weight == 1; })) return rows;
  core::Stream(seed, purpose + ".weighted").shuffle(rows);
  return rows;
}

}  // namespace keel::data
