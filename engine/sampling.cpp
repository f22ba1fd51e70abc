#include "engine/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace keel::engine {

Sampler::Sampler(int64_t vocabulary)
    : vocabulary_(vocabulary), values_(static_cast<size_t>(vocabulary)), sums_(static_cast<size_t>(sum_blocks(vocabulary))) {}

Choice Sampler::choose(const float* logits, const Cut& cut, double draw) {
  const bool greedy = cut.temperature == 0;
  const float scale = greedy ? 1 : static_cast<float>(1 / cut.temperature);
  const auto [largest, total] = weigh(logits, scale);
  if (!std::isfinite(total)) return {vocabulary_ - 1, std::numeric_limits<float>::quiet_NaN()};  // so are the logits: no token is better
  int64_t id = 0;
  if (greedy)
    id = std::find(logits, logits + vocabulary_, largest) - logits;
  else if (cut.top_k == 0 && cut.top_p >= 1)
    id = by_mass(draw, total);
  else
    id = among_likely(cut, draw, total);
  return {id, logprob_of(logits[id], scale, {largest, total})};
}

float Sampler::logprob(const float* logits, float scale, int64_t id) {
  return logprob_of(logits[id], scale, weigh(logits, scale));
}

Sampler::Mass Sampler::weigh(const float* logits, float scale) {
  const float largest = kernels().exponentials(logits, scale, vocabulary_, values_.data(), sums_.data());
  return {largest, std::accumulate(sums_.begin(), sums_.end(), 0.0)};
}

float Sampler::logprob_of(float logit, float scale, const Mass& mass) {
  return (logit - mass.largest) * scale - static_cast<float>(std::log(mass.total));
}

int64_t Sampler::by_mass(double draw, double total) const {
  const double target = draw * total;
  double before = 0;
  size_t block = 0;
  while (block + 1 < sums_.size() && before + sums_[block] <= target)
    before += sums_[block++];
  const auto begin = static_cast<int64_t>(block) * kSumBlock, end = std::min(vocabulary_, begin + kSumBlock);
  int64_t last = begin;  // with some probability: the sum of a block, rounded in another order, may promise a little more than it holds
  for (int64_t i = begin; i < end; ++i) {
    before += values_[static_cast<size_t>(i)];
    if (before > target) return i;
    if (values_[static_cast<size_t>(i)] > 0) last = i;
  }
  return last;
}

int64_t Sampler::among_likely(const Cut& cut, double draw, double total) {
  const auto value = [&](int64_t i) { return values_[static_cast<size_t>(i)]; };
  // The likeliest tokens are those above a bound; it falls until they are enough.
  const int64_t least = cut.top_k > 0 ? std::min(cut.top_k, vocabulary_) : 0;
  for (float bound = 1.f / 1024;; bound /= 32) {
    likely_.clear();
    double mass = 0;
    for (int64_t i = 0; i < vocabulary_; ++i)
      if (value(i) > bound || bound < 1e-30f) {
        likely_.push_back(i);
        mass += value(i);
      }
    if (bound < 1e-30f || (least > 0 ? static_cast<int64_t>(likely_.size()) >= least : mass > cut.top_p * total)) break;
  }
  std::sort(likely_.begin(), likely_.end(), [&](int64_t a, int64_t b) { return value(a) > value(b) || (value(a) == value(b) && a < b); });
  if (least > 0) {
    likely_.resize(static_cast<size_t>(least));
    total = 0;
    for (const int64_t i : likely_)
      total += value(i);
  }
  double kept = 0;
  size_t count = 0;
  while (count < likely_.size() && (cut.top_p >= 1 || kept <= cut.top_p * total))
    kept += value(likely_[count++]);
  double before = 0;
  for (size_t i = 0; i < count; ++i) {
    before += value(likely_[i]);
    if (before > draw * kept) return likely_[i];
  }
  return likely_[count - 1];
}

}  // namespace keel::engine
