// A Llama's weights, laid out for products with few rows.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "engine/buffer.h"
#include "engine/kernels.h"
#include "engine/projections.h"
#include "engine/team.h"

namespace keel::engine {

// Legend: D width, H heads, G key heads, h head size, F inner width, V outputs: the vocabulary, or 1 for a reward model or critic.
struct Shape {
  int64_t width = 0, heads = 0, key_heads = 0, head_size = 0, inner = 0, outputs = 0;
  float norm_eps = 1e-5f;
};

// A low-rank addition to a matrix (LoRA, Hu et al. 2021): y = W x + scale B A x, row-major A [rank, in] and B [out, rank].
struct LowRank {
  const float *a = nullptr, *b = nullptr;
  int64_t rank = 0;  // 0: no addition
  float scale = 1;
};

inline void multiply_by(float scale, float* values, int64_t count) {
  for (int64_t i = 0; i < count; ++i)
    values[i] *= scale;
}

// Row-major weights as a checkpoint holds them.
struct LayerWeights {
  const float* input_norm;
  Stored q, k, v, o;
  const float* post_norm;
  Stored gate, up, down;
  Projections<LowRank> adapters = {};
};
struct Weights {
  const float* embedding;  // [ids, D]
  std::vector<LayerWeights> layers;
  const float* norm;
  const float* head;         // [V, D]
  const float* frequencies;  // [h / 2], radians by which a step of one position turns each pair of a head
};

// How a model holds its matrices: copied into panels, which products read fastest, or as they lie, where a copy is too large.
enum class Layout { panels, as_they_lie };

constexpr int64_t panels_of(int64_t columns) {
  return round_up(columns, kPanel) / kPanel;
}

// Several matrices [rows, inner] one below the other: (first weight, rows) of each.
using Blocks = std::vector<std::pair<Stored, int64_t>>;

// W [columns, inner] of products x W^T. In panels of kPanel rows of W: [columns / kPanel, inner, kPanel], the last one filled up with 0, in
// bf16 where all of W is. For kernels whose products are in bf16 each panel is [inner / 2, kPanel, 2], in bf16: pairs of terms stand
// together, and an odd one's partner is 0.
struct Packed {
  Buffer panels;
  Array<uint16_t> bf16_panels;
  Blocks as_they_lie;  // in place of both
  int64_t columns = 0, inner = 0;

  Stored panel(int64_t index) const;
};

// For kernels().
Packed pack(const Blocks& blocks, int64_t inner, Layout layout, Team& team);

struct PackedLowRank {
  Packed a, b;  // always panels; a.columns is the rank, 0 where there is no addition
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

// The weights must outlive the model, which reads the embedding, and of the others those that are not copied.
Model make_model(const Shape& shape, const Weights& weights, Layout layout, Team& team);

int64_t layer_numbers(const Shape& shape);  // in the matrices of a layer

}  // namespace keel::engine
