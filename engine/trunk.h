// A Llama's trunk for training: forward with what the backward pass needs, and backward, on the weights as they lie.
//
// Legend: T tokens of all sequences of a pass, D width, H heads, G key heads, h head size, F inner width.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "engine/buffer.h"
#include "engine/kernels.h"
#include "engine/model.h"
#include "engine/team.h"

namespace keel::engine {

// A sequence of a pass: `length` tokens of its own, after the first `shared` positions of another sequence, whose own tokens begin at the
// pass's token `shared_from`.
struct Stretch {
  int64_t length, shared = 0, shared_from = 0;
};

// Where the gradients of weights go, in their shapes.
struct LowRankGradients {
  GradientOf a, b;
};
struct LayerGradients {
  GradientOf input_norm, q, k, v, o, post_norm, gate, up, down;
  Projections<LowRankGradients> adapters = {};
};
struct Gradients {
  float* embedding;  // [ids, D], always added to; nullptr: not wanted
  std::vector<LayerGradients> layers;
  GradientOf norm;
};

// What a layer keeps for its backward pass.
enum class Keeping { tensors, inputs };

// The forward states are to the bit those of Forward: a function of a sequence's ids up to a token, whatever stands beside it.
class Trunk {
 public:
  // `weights` are read at forward() and backward(); their head is not used.
  Trunk(const Shape& shape, Weights weights, int threads);

  const Weights& weights() const { return weights_; }

  // Hidden states after the last norm, [T, D], of the own tokens of all sequences, which stand one after the other. Layers from `kept_from`
  // on keep what backward() needs, or their inputs alone, from which it computes the rest once more.
  void forward(std::span<const int64_t> ids, std::span<const Stretch> sequences, float* states, int64_t kept_from, Keeping keeping);

  // From the gradient of the states; once after each forward(), and of no layer below its kept_from. Layers below the lowest one that wants
  // gradients are not computed.
  void backward(const float* d_states, const Gradients& gradients);

 private:
  struct Kept {  // of a layer, besides its input
    Buffer qkv, mixed, middle, gate_up;
    Projections<Buffer> low;  // of adapters, scale A x
  };
  struct Scratch {  // of a member of the team
    Buffer room, pages, scores, d_scores;
    Buffer keys, values, d_keys, d_values;  // of one head and sequence, [positions, h]
    std::vector<const float*> table;
  };
  Buffer& input_of(int64_t layer);
  Kept& kept_of(int64_t layer);
  void multiply(const Matrix& a, const Matrix& b, float* c, int64_t c_row, int64_t rows, int64_t terms, int64_t columns, Into into,
                int member);
  void each_row(int member, const std::function<void(int64_t row)>& use) const;
  void norm(const Buffer& x, const float* weight, int member);
  void norm_backward(const Buffer& x, const float* weight, GradientOf d_weight, int member);
  void add_low_rank(const Buffer& x, int64_t in, const LowRank& by, Buffer& low, float* y, int64_t y_row, int64_t out, int member);
  void low_rank_backward(const float* dy, int64_t dy_row, int64_t out, const Buffer& x, int64_t in, const LowRank& by, const Buffer& low,
                         const LowRankGradients& gradients, Buffer& dx, int member);
  void rotate(float* qkv, bool backwards, int member) const;
  void layer_to_gates(const LayerWeights& weights, const Buffer& x, Kept& kept, int member);
  void layer_from_gates(const LayerWeights& weights, Kept& kept, Buffer& out, int member);
  void layer_backward(const LayerWeights& weights, const Buffer& x, const Kept& kept, const LayerGradients& gradients, int member);
  std::pair<int64_t, int64_t> attention_tasks(int member) const;
  int64_t token_at(size_t sequence, int64_t position) const;
  void attend(const Kept& kept, Buffer& mixed, int member);
  void attend_backward(const Kept& kept, int member);

  Shape shape_;
  Weights weights_;
  Team team_;
  const Kernels& kernels_;
  std::vector<int64_t> ids_, positions_, starts_;  // of tokens, and of the sequences' own tokens
  std::vector<Stretch> sequences_;
  int64_t tokens_ = 0, kept_from_ = 0;
  Keeping keeping_ = Keeping::tensors;
  std::vector<Buffer> inputs_;  // of the layers, and the last one's output
  std::vector<Kept> kept_;
  Buffer passing_inputs_[2];  // of layers that keep nothing, by turns
  Kept passing_;              // of layers that keep no more than their inputs
  Buffer cos_, sin_;
  Buffer normed_, inner_;  // computed again by the backward pass
  Buffer dx_, d_normed_, d_inner_, d_gate_up_, d_mixed_, d_qkv_, d_low_, scales_;
  std::vector<Scratch> scratch_;
};

}  // namespace keel::engine
