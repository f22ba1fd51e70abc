#include "policy/sampling.h"

#include <cmath>

#include "core/rng.h"
#include "support/test.h"

using keel::policy::choose;
using keel::policy::SamplingConfig;
using keel::test::tensor;

namespace {

// The token chosen from a distribution for each draw.
std::vector<int64_t> chosen(const at::Tensor& probabilities, const std::vector<double>& draws, const SamplingConfig& config) {
  const auto rows = static_cast<int64_t>(draws.size());
  const at::Tensor ids = choose(probabilities.log().expand({rows, probabilities.size(0)}), at::tensor(draws, at::kDouble), config);
  return {ids.data_ptr<int64_t>(), ids.data_ptr<int64_t>() + rows};
}

using Tokens = std::vector<int64_t>;
constexpr double kAlmostOne = 1 - 0x1p-53;

// Chi-square of 20,000 draws against probabilities; a draw with probability 0 makes it infinite.
double chi_square(const at::Tensor& sampled_from, const std::vector<double>& expected, const SamplingConfig& config) {
  keel::core::Stream stream(3, "test.sampling");
  std::vector<double> draws(20000);
  for (auto& draw : draws)
    draw = stream.uniform();
  std::vector<double> counts(expected.size());
  for (const int64_t token : chosen(sampled_from, draws, config))
    ++counts[static_cast<size_t>(token)];
  double sum = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    const double wanted = 20000 * expected[i];
    if (counts[i] != wanted) sum += (counts[i] - wanted) * (counts[i] - wanted) / wanted;
  }
  return sum;
}

}  // namespace

TEST_CASE("sampling: the draw is looked up in the cumulated probabilities, in id order", "[policy]") {
  const at::Tensor p = tensor({.15, .5, .05, .3});
  CHECK(chosen(p, {0, .14, .16, .64, .66, .69, .71, kAlmostOne}, {}) == Tokens{0, 0, 1, 1, 2, 2, 3, 3});
}

TEST_CASE("sampling: temperature 0 takes the most likely token whatever the draw and the cuts", "[policy]") {
  const at::Tensor p = tensor({.3, .45, .25});
  CHECK(chosen(p, {0, .5, kAlmostOne}, {.temperature = 0}) == Tokens{1, 1, 1});
  CHECK(chosen(p, {0, kAlmostOne}, {.temperature = 0, .top_p = 0, .top_k = 2}) == Tokens{1, 1});
}

TEST_CASE("sampling: top-p keeps a token while the mass before it is at most p", "[policy]") {
  const at::Tensor p = tensor({.15, .5, .05, .3});  // by mass: 1 (0 before it), 3 (0.5), 0 (0.8), 2 (0.95)
  // p = 0.6 keeps 1 and 3: 5/8 and 3/8 of what is left.
  CHECK(chosen(p, {0, .62, .63, kAlmostOne}, {.top_p = .6}) == Tokens{1, 1, 3, 3});
  CHECK(chosen(p, {0, kAlmostOne}, {.top_p = .49}) == Tokens{1, 1});
  CHECK(chosen(p, {.52, .53, .84, .85, kAlmostOne}, {.top_p = .81}) == Tokens{1, 3, 3, 0, 0});
  CHECK(chosen(p, {0, kAlmostOne}, {.top_p = 0}) == Tokens{1, 1});
  CHECK(chosen(p, {.951, kAlmostOne}, {.top_p = .96}) == Tokens{2, 2});
  // Exactly p before it: kept. Four equal tokens, p = 1/4 and 1/2.
  CHECK(chosen(tensor({.25, .25, .25, .25}), {0, .49, .51, kAlmostOne}, {.top_p = .25}) == Tokens{0, 0, 1, 1});
  CHECK(chosen(tensor({.25, .25, .25, .25}), {.65, kAlmostOne}, {.top_p = .5}) == Tokens{1, 2});
}

TEST_CASE("sampling: top-k comes first, and top-p cuts what it leaves", "[policy]") {
  const at::Tensor p = tensor({.15, .5, .05, .3});
  CHECK(chosen(p, {0, .62, .63, kAlmostOne}, {.top_k = 2}) == Tokens{1, 1, 3, 3});
  CHECK(chosen(p, {0, kAlmostOne}, {.top_k = 1}) == Tokens{1, 1});
  CHECK(chosen(p, {.51, kAlmostOne}, {.top_k = 99}) == Tokens{3, 2});  // all four, most likely first
  // Of the two kept, the first has 0.625: more than p, so it stands alone; of all four it would have had 0.5.
  CHECK(chosen(p, {0, kAlmostOne}, {.top_p = .6, .top_k = 2}) == Tokens{1, 1});
}

TEST_CASE("sampling: a token of probability zero is never drawn", "[policy]") {
  const at::Tensor p = tensor({0, .5, 0, .5, 0});
  CHECK(chosen(p, {0, .49, .51, kAlmostOne}, {}) == Tokens{1, 1, 3, 3});
  CHECK(chosen(p, {0, .49, .51, kAlmostOne}, {.top_k = 4}) == Tokens{1, 1, 3, 3});
  CHECK(chosen(p, {0, kAlmostOne}, {.top_p = .9}) == Tokens{1, 3});
}

TEST_CASE("sampling: frequencies match the probabilities, whole and cut", "[policy]") {
  const at::Tensor p = tensor({.05, .3, .1, .25, .1, .2});
  CHECK(chi_square(p, {.05, .3, .1, .25, .1, .2}, {}) < 20.5);                          // 5 degrees of freedom, 0.1 %
  CHECK(chi_square(p, {0, .3 / .75, 0, .25 / .75, 0, .2 / .75}, {.top_k = 3}) < 13.8);  // 2
  CHECK(chi_square(p, {0, .3 / .75, 0, .25 / .75, 0, .2 / .75}, {.top_p = .7}) < 13.8);
  CHECK(chi_square(p, {.1, .25, .1, .25, .1, .2}, {}) > 500);  // another distribution is detected
}
