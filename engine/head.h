// The language-model head in training: log-probs of targets, and their gradients, without all logits at once.
//
// Legend: N positions, D width, V vocabulary.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "engine/buffer.h"
#include "engine/kernels.h"
#include "engine/model.h"
#include "engine/team.h"

namespace keel::engine {

class Head {
 public:
  Head(const float* weight, int64_t vocabulary, int64_t width, int threads);  // weight [V, D], read by both passes

  // log p(target), p = softmax(scale * W h): to the bit what Sampler::logprob() says of the same logits. And the entropy of p in nats, [N],
  // unless nullptr. states [N, D], which must live until backward(). Keeps probabilities for backward() as far as `most_kept` bytes go;
  // what lies beyond is computed again. 0: backward() does not come.
  void forward(const float* states, std::span<const int64_t> targets, float scale, float* logprobs, float* entropies, int64_t most_kept);

  // From dL / dlogprobs [N]: gradients of states [N, D], which are replaced unless nullptr, and of weight [V, D].
  void backward(const float* d_logprobs, float* d_states, GradientOf d_weight);

 private:
  struct Chunks {
    int64_t begin, end;
  };
  int64_t count_of(int64_t chunk) const;
  std::pair<int64_t, int64_t> own_rows(int member) const;
  float* values(int64_t chunk);
  float* largest(int64_t chunk, int member);
  void logits(Chunks chunks, int member);
  void exponentials(int64_t chunk, int member);
  void gradients(Chunks chunks, const float* d_logprobs, float* d_states, GradientOf d_weight, int member);

  const float* weight_;
  int64_t vocabulary_, width_;
  Team team_;
  const Kernels& kernels_;
  const float* states_ = nullptr;
  std::vector<int64_t> targets_;
  float scale_ = 1;
  int64_t kept_chunks_ = 0;
  Packed packed_states_;
  std::vector<Buffer> kept_;      // e^x of the first chunks, [V, kChunk]
  Buffer once_;                   // the same of the chunk in work
  std::vector<float> totals_;     // sums of e^x, [N rounded up]
  std::vector<float> exponents_;  // of the targets
  std::vector<float> factors_;    // -g scale / total: from e^x to dL/dz, [N rounded up]
  Buffer largest_;                // [chunks, members, kChunk]
  Buffer sums_, moments_;         // of the chunk in work, [blocks, kChunk]
  std::vector<Buffer> rooms_, lanes_;
};

}  // namespace keel::engine
