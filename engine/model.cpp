#include "engine/model.h"

#include <algorithm>

namespace keel::engine {
namespace {

Buffer copy_of(const float* from, int64_t count) {
  Buffer copy(count);
  std::copy_n(from, count, copy.data());
  return copy;
}

PackedLowRank pack(const LowRank& adapter, int64_t in, int64_t out, Team& team) {
  if (adapter.rank == 0) return {};
  return {.a = pack({{adapter.a, adapter.rank}}, in, team), .b = pack({{adapter.b, out}}, adapter.rank, team), .scale = adapter.scale};
}

}  // namespace

int64_t packed_bytes(const Shape& shape, int64_t layers) {
  const int64_t query_width = shape.heads * shape.head_size, key_width = shape.key_heads * shape.head_size;
  const int64_t a_layer = shape.width * (2 * query_width + 2 * key_width + 3 * shape.inner);
  return static_cast<int64_t>(sizeof(float)) * (layers * a_layer + shape.outputs * shape.width);
}

Packed pack(const std::vector<std::pair<const float*, int64_t>>& blocks, int64_t inner, Team& team) {
  Packed packed;
  packed.inner = inner;
  std::vector<const float*> rows;
  for (const auto& [first, count] : blocks) {
    for (int64_t row = 0; row < count; ++row)
      rows.push_back(first + row * inner);
  }
  packed.columns = static_cast<int64_t>(rows.size());
  packed.panels = Buffer::zeros(packed.count() * kPanel * inner);
  team.run([&](int member) {
    const auto [begin, end] = share(packed.count(), member, team.size());
    for (int64_t panel = begin; panel < end; ++panel) {
      const int64_t columns = std::min(kPanel, packed.columns - panel * kPanel);
      float* to = packed.panels.data() + panel * kPanel * inner;
      constexpr int64_t kStrip =
          16;  // of the inner index: one line of each row, so that the panel's lines stay in the cache while it fills
      for (int64_t strip = 0; strip < inner; strip += kStrip)
        for (int64_t column = 0; column < columns; ++column) {
          const float* from = rows[static_cast<size_t>(panel * kPanel + column)];
          for (int64_t k = strip; k < std::min(inner, strip + kStrip); ++k)
            to[k * kPanel + column] = from[k];
        }
    }
  });
  return packed;
}

Model make_model(const Shape& shape, const Weights& weights, Team& team) {
  const int64_t query_width = shape.heads * shape.head_size, key_width = shape.key_heads * shape.head_size;
  Model model{.shape = shape,
              .most_rank = 0,
              .embedding = weights.embedding,
              .layers = {},
              .norm = copy_of(weights.norm, shape.width),
              .head = {},
              .frequencies = copy_of(weights.frequencies, shape.head_size / 2)};
  for (const LayerWeights& layer : weights.layers) {
    const Projections<LowRank>& adapters = layer.adapters;
    for (const LowRank* adapter : adapters.all())
      model.most_rank = std::max(model.most_rank, adapter->rank);
    model.layers.push_back({.input_norm = copy_of(layer.input_norm, shape.width),
                            .post_norm = copy_of(layer.post_norm, shape.width),
                            .qkv = pack({{layer.q, query_width}, {layer.k, key_width}, {layer.v, key_width}}, shape.width, team),
                            .o = pack({{layer.o, shape.width}}, query_width, team),
                            .gate_up = pack({{layer.gate, shape.inner}, {layer.up, shape.inner}}, shape.width, team),
                            .down = pack({{layer.down, shape.width}}, shape.inner, team),
                            .adapters = {.q = pack(adapters.q, shape.width, query_width, team),
                                         .k = pack(adapters.k, shape.width, key_width, team),
                                         .v = pack(adapters.v, shape.width, key_width, team),
                                         .o = pack(adapters.o, query_width, shape.width, team),
                                         .gate = pack(adapters.gate, shape.width, shape.inner, team),
                                         .up = pack(adapters.up, shape.width, shape.inner, team),
                                         .down = pack(adapters.down, shape.inner, shape.width, team)}});
  }
  model.head = pack({{weights.head, shape.outputs}}, shape.width, team);
  return model;
}

}  // namespace keel::engine
