// Mixtures of preference data (Llama 2 paper, 3.2.2): all of a reward model's own kind and a part of everything else.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace keel::data {

// Indices (of 0..rest-1) of the other rows that join `own` rows so that they make up `share` of the whole (in [0, 1)): a uniform draw
// without repetition, ascending; all of them where there are not enough. Own rows are never left out. A larger share keeps what a smaller
// one draws.
std::vector<int64_t> draw_rest(int64_t own, int64_t rest, double share, uint64_t seed);

// Number of other rows that draw_rest() aims at: round(own * share / (1 - share)).
int64_t wanted_rest(int64_t own, double share);

// Indices of rows, each as often as its weight says: 2 twice, 0.5 with a chance of one half, 1 once. Where any weight differs from 1 the
// order is a random one, so that copies do not stand side by side; else it stays.
std::vector<int64_t> repeat_by_weight(const std::vector<double>& weights, uint64_t seed, const std::string& purpose);

}  // namespace keel::data
