#include "engine/model.h"

#include <algorithm>
#include <bit>
#include <span>

namespace keel::engine {
namespace {

Buffer copy_of(const float* from, int64_t count) {
  Buffer copy(count);
  std::copy_n(from, count, copy.data());
  return copy;
}

// The nearest bf16 number, of two the even one.
uint16_t rounded(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if (value != value) return static_cast<uint16_t>(bits >> 16 | 0x40);  // stays a NaN
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

void copy_from(const Stored& row, int64_t k, uint16_t& to) {
  to = row.bf16 != nullptr ? row.bf16[k] : rounded(row.fp32[k]);
}

void copy_from(const Stored& row, int64_t k, float& to) {
  to = row.bf16 != nullptr ? std::bit_cast<float>(uint32_t{row.bf16[k]} << 16) : row.fp32[k];
}

// Terms of a panel that stand together, for each of its columns.
int64_t together() {
  return kernels().products == Arithmetic::bf16 ? 2 : 1;
}

// Whether the rows are fp32 and stand one behind the other.
bool stand_together(std::span<const Stored> rows, int64_t inner) {
  for (size_t i = 0; i < rows.size(); ++i)
    if (rows[i].fp32 == nullptr || rows[i].fp32 != rows[0].fp32 + static_cast<int64_t>(i) * inner) return false;
  return true;
}

// The panels of W, whose rows stand at `rows`; members take panels.
template <class Number>
Array<Number> panels_from(const std::vector<Stored>& rows, int64_t inner, Team& team) {
  const int64_t unit = together(), length = round_up(inner, unit) * kPanel;
  const auto columns = static_cast<int64_t>(rows.size()), count = panels_of(columns);
  Array<Number> panels(count * length);
  team.run([&](int member) {
    const auto [begin, end] = share(count, member, team.size());
    for (int64_t panel = begin; panel < end; ++panel) {
      Number* const to = panels.data() + panel * length;
      const auto of_panel = std::span(rows)
                                .subspan(static_cast<size_t>(panel * kPanel))
                                .first(static_cast<size_t>(std::min(kPanel, columns - panel * kPanel)));
      if (stand_together(of_panel, inner)) {
        kernels().lay_out(of_panel.front().fp32, inner, std::ssize(of_panel), to);
        continue;
      }
      std::fill_n(to, length, Number{});
      constexpr int64_t kStrip = 16;  // of the inner index, so that the panel's lines stay in the cache while it fills
      for (int64_t strip = 0; strip < inner; strip += kStrip)
        for (int64_t column = 0; column < std::ssize(of_panel); ++column) {
          const Stored& row = of_panel[static_cast<size_t>(column)];
          for (int64_t k = strip; k < std::min(inner, strip + kStrip); ++k)
            copy_from(row, k, to[(k / unit * kPanel + column) * unit + k % unit]);
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

Stored Packed::panel(int64_t index) const {
  const int64_t first = index * kPanel * round_up(inner, together());
  return bf16_panels.size() > 0 ? Stored(bf16_panels.data() + first) : Stored(panels.data() + first);
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
  else if (kernels().products == Arithmetic::bf16 || std::ranges::all_of(rows, [](const Stored& row) { return row.bf16 != nullptr; }))
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
  // A reward is one product a row: it stays exact, as it is in training (Forward::times()).
  model.head = pack({{weights.head, shape.outputs}}, shape.width, shape.outputs == 1 ? Layout::as_they_lie : layout, team);
  return model;
}

}  // namespace keel::engine
