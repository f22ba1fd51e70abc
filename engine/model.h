// A Llama's fp32 weights, laid out for products with few rows.
#pragma once

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "engine/buffer.h"
#include "engine/kernels.h"
#include "engine/team.h"

namespace keel::engine {

// Legend: D width, H heads, G key heads, h head size, F inner width, V outputs: the vocabulary, or 1 for a reward model or critic.
struct Shape {
  int64_t width = 0, heads = 0, key_heads = 0, head_size = 0, inner = 0, outputs = 0;
  float norm_eps = 1e-5f;
};

// One T for each matrix of a layer, in file order.
template <class T>
struct Projections {
  T q, k, v, o, gate, up, down;
  std::array<T*, 7> all() { return {&q, &k, &v, &o, &gate, &up, &down}; }
  std::array<const T*, 7> all() const { return {&q, &k, &v, &o, &gate, &up, &down}; }
};

// A low-rank addition to a matrix (LoRA, Hu et al. 2021): y = W x + scale B A x, row-major A [rank, in] and B [out, rank].
struct LowRank {
  const float *a = nullptr, *b = nullptr;
  int64_t rank = 0;  // 0: no addition
  float scale = 1;
};

inline void scale(float* values, int64_t count, float by) {
  for (int64_t i = 0; i < count; ++i)
    values[i] *= by;
}

// Row-major fp32 weights as a checkpoint holds them, read while packing alone, except `embedding`, which must outlive the model.
struct LayerWeights {
  const float *input_norm, *q, *k, *v, *o, *post_norm, *gate, *up, *down;
  Projections<LowRank> adapters = {};
};
struct Weights {
  const float* embedding;  // [ids, D]
  std::vector<LayerWeights> layers;
  const float* norm;
  const float* head;         // [V, D]
  const float* frequencies;  // [h / 2], radians by which a step of one position turns each pair of a head
};

// W [columns, inner] in panels of kPanel rows of W: [columns / kPanel, inner, kPanel], the last one filled up with 0.
struct Packed {
  Buffer panels;
  int64_t columns = 0, inner = 0;
  int64_t count() const { return round_up(columns, kPanel) / kPanel; }
};

// Several matrices of `inner` columns one below the other: (first weight, rows) of each.
Packed pack(const std::vector<std::pair<const float*, int64_t>>& blocks, int64_t inner, Team& team);

struct PackedLowRank {
  Packed a, b;  // a.columns is the rank, 0 where there is no addition
  float scale = 1;
};

struct Layer {
  Buffer input_norm, post_norm;
  Packed qkv, o, gate_up, down;
  Projections<PackedLowRank> adapters;
};

struct Model {
  Shape shape;
  int64_t most_rank = 0;  // of the adapters
  const float* embedding;
  std::vector<Layer> layers;
  Buffer norm;
  Packed head;
  Buffer frequencies;
};

Model make_model(const Shape& shape, const Weights& weights, Team& team);

int64_t packed_bytes(const Shape& shape, int64_t layers);  // of weights that make_model() would copy

}  // namespace keel::engine
