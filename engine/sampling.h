// The next token, from logits.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/kernels.h"

namespace keel::engine {

struct Cut {
  double temperature = 1;  // 0 = the most likely token
  double top_p = 1;        // a token is kept while the mass of those before it is at most top_p of the whole
  int64_t top_k = 0;       // 0 = all
};

struct Choice {
  int64_t id;
  float logprob;  // of softmax(logits / temperature), T = 0: of T = 1, before top-k and top-p
};

// Chooses by inverse CDF: the first token, in the order of the vocabulary or, with top_k or top_p, of falling probability, at which the
// cumulative mass exceeds draw times the whole.
class Sampler {
 public:
  explicit Sampler(int64_t vocabulary);
  // logits [V]; draw in [0, 1). Logits that are no numbers give the last token and a log-prob that is none either.
  Choice choose(const float* logits, const Cut& cut, double draw);

  float logprob(const float* logits, float scale, int64_t id);  // of softmax(scale * logits)

 private:
  struct Mass {
    float largest;  // logit
    double total;   // of values_
  };
  Mass weigh(const float* logits, float scale);  // fills values_ and sums_
  static float logprob_of(float logit, float scale, const Mass& mass);
  int64_t by_mass(double draw, double total) const;
  int64_t among_likely(const Cut& cut, double draw, double total);

  int64_t vocabulary_;
  std::vector<float> values_, sums_;  // e^(logit - largest) and the sums of blocks of them
  std::vector<int64_t> likely_;
};

}  // namespace keel::engine
