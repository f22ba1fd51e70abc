#include "engine/model.h"

#include <algorithm>
#include <bit>

namespace keel::engine {
namespace {

Buffer copy_of(const float* from, int64_t count) {
  Buffer copy(count);
  std::copy_n(from, count, copy.data());
  return copy;
}

void copy_from(const Stored& row, int64_t k, uint16_t& to) {
  to = row.bf16[k];
}

void copy_from(const Stored& row, int64_t k, float& to) {
  to = row.bf16 != nullptr ? std::bit_cast<float>(uint32_t{row.bf16[k]} << 16) : row.fp32[k];
}

// The panels of W, whose rows stand at `rows`, all in bf16 where Number is; members take panels.
template <class Number>
Array<Number> panels_from(const std::vector<Stored>& rows, int64_t inner, Team& team) {
  const auto columns = static_cast<int64_t>(rows.size()), count = panels_of(columns);
  auto panels = Array<Number>::zeros(count * kPanel * inner);
  team.run([&](int member) {
    const auto [begin, end] = share(count, member, team.size());
    for (int64_t panel = begin; panel < end; ++panel) {
      Number* const to = panels.data() + panel * kPanel * inner;
      constexpr int64_t kStrip = 16;  // of the inner index, so that the panel's lines stay in the cache while it fills
      for (int64_t strip = 0; strip < inner; strip += kStrip)
        for (int64_t column = 0; column < std::min(kPanel, columns - panel * kPanel); ++column) {
          const Stored& row = rows[static_cast<size_t>(panel * kPanel + column)];
          for (int64_t k = strip; k < std::min(inner, strip + kStrip); ++k)
            copy_from(row, k, to[k * kPanel + column]);
        }
    }
  });
  return panels;
}

PackedLowRank pack(const LowRank& adapter, int64_t in, int64_t out, Team& team) {
  if (adapter.rank == 0) return {};
  return {.a = pack({{adapter.a, adapter.rank}}, in, Layout::panels, team),
          .b = pack({{adapter.b, out}}, adapter.rank, Layout::panels, team),
          .scale = adapter.scale};
}

}  // namespace

int64_t layer_numbers(const Shape& shape) {
  const int64_t query_width = shape.heads * shape.head_size, key_width = shape.key_heads * shape.head_size;
  return shape.width * (2 * query_width + 2 * key_width + 3 * shape.inner);
}

Packed pack(const Blocks& blocks, int64_t inner, Layout layout, Team& team) {
  Packed packed;
  packed.inner = inner;
  std::vector<Stored> rows;
  for (const auto& [first, count] : blocks)
    for (int64_t row = 0; row < count; ++row)
      rows.push_back(first.from(row * inner));
  packed.columns = static_cast<int64_t>(rows.size());
  if (layout == Layout::as_they_lie)
    packed.as_they_lie = blocks;
  else if (std::ranges::all_of(rows, [](const Stored& row) { return row.bf16 != nullptr; }))
    packed.bf16_panels = panels_from<uint16_t>(rows, inner, team);
  else  // of a merged adapter q and v are fp32 and k is bf16
    packed.panels = panels_from<float>(rows, inner, team);
  return packed;
}

Model make_model(const Shape& shape, const Weights& weights, Layout layout, Team& team) {
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
                            .qkv = pack({{layer.q, query_width}, {layer.k, key_width}, {layer.v, key_width}}, shape.width, layout, team),
                            .o = pack({{layer.o, shape.width}}, query_width, layout, team),
                            .gate_up = pack({{layer.gate, shape.inner}, {layer.up, shape.inner}}, shape.width, layout, team),
                            .down = pack({{layer.down, shape.width}}, shape.inner, layout, team),
                            .adapters = {.q = pack(adapters.q, shape.width, query_width, team),
                                         .k = pack(adapters.k, shape.width, key_width, team),
                                         .v = pack(adapters.v, shape.width, key_width, team),
                                         .o = pack(adapters.o, query_width, shape.width, team),
                                         .gate = pack(adapters.gate, shape.width, shape.inner, team),
                                         .up = pack(adapters.up, shape.width, shape.inner, team),
                                         .down = pack(adapters.down, shape.inner, shape.width, team)}});
  }
  model.head = pack({{weights.head, shape.outputs}}, shape.width, layout, team);
  return model;
}

}  // namespace keel::engine
