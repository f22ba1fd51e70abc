#include "engine/forward.h"

#include <algorithm>
#include <cmath>

#include "engine/rotary.h"

namespace keel::engine {

Forward::Forward(const Model& model, const PagePool& pages, Team& team)
    : model_(model),
      pages_(pages),
      team_(team),
      kernels_(kernels()),
      scores_(static_cast<size_t>(team.size())),
      low_(static_cast<size_t>(team.size())) {
  for (int member = 0; member < team.size(); ++member)
    rooms_.emplace_back(kProductRoom);
}

// Whether the members take rows of a product, not columns. Then none waits for another until attention, and none has a panel of columns
// more than another.
bool Forward::by_rows(int64_t rows) const {
  return take_rows(rows, team_.size());
}

// y = x W^T, or y += x W^T, as much of it as is this member's.
void Forward::times(const float* x, const Packed& by, float* y, int64_t rows, Into into, int member) {
  const bool split_rows = by_rows(rows);
  if (split_rows) {
    const auto [begin, end] = share(rows, member, team_.size());
    x += begin * by.inner;
    y += begin * by.columns;
    rows = end - begin;
  }
  const auto panels_from_to = [&](int64_t columns) {
    return split_rows ? std::pair<int64_t, int64_t>(0, panels_of(columns)) : share(panels_of(columns), member, team_.size());
  };
  int64_t column = 0;
  const auto product = by.columns == 1 ? kernels_.exact_product : kernels_.product;
  for (const auto& [weights, columns] : by.as_they_lie) {
    const auto [begin, end] = panels_from_to(columns);
    product({x, by.inner, 1}, {weights, 1, by.inner}, y + column, by.columns, rows, by.inner, columns, begin, end, into,
            rooms_[static_cast<size_t>(member)].data());
    column += columns;
  }
  if (!by.as_they_lie.empty()) return;
  const auto [begin, end] = panels_from_to(by.columns);
  kernels_.multiply(x, by.panel(0), y, rows, by.inner, by.columns, by.columns, begin, end, into);
}

void Forward::run(std::span<const Row> rows, std::span<const int64_t> wanted) {
  const Shape& shape = model_.shape;
  const auto count = static_cast<int64_t>(rows.size()), layers = static_cast<int64_t>(model_.layers.size());
  const int64_t query_width = shape.heads * shape.head_size;
  x_.grow(count * shape.width);
  states_.grow(static_cast<int64_t>(wanted.size()) * shape.width);
  normed_.grow(count * shape.width);
  qkv_.grow(count * (query_width + 2 * shape.key_heads * shape.head_size));
  mixed_.grow(count * query_width);
  gate_up_.grow(count * 2 * shape.inner);
  inner_.grow(count * shape.inner);
  int64_t longest = 0;
  for (const Row& row : rows)
    longest = std::max(longest, row.position + 1);
  grow_angles(cos_, sin_, model_.frequencies.data(), shape.head_size / 2, longest);
  for (auto& scores : scores_)
    scores.grow(std::max(shape.heads / shape.key_heads, kAttendRows) * round_up(longest, 8 * kPage));
  for (auto& low : low_)
    low.grow((count / team_.size() + 1) * model_.most_rank);
  for (auto next = static_cast<int64_t>(all_.size()); next < count; ++next)
    all_.push_back(next);
  const std::span<const int64_t> all(all_.data(), rows.size());
  join(rows, all, all_together_);
  join(rows, wanted, wanted_together_);
  team_.run([&](int member) {
    const auto [begin, end] = share(count, member, team_.size());
    for (int64_t i = begin; i < end; ++i)
      std::copy_n(model_.embedding + rows[static_cast<size_t>(i)].id * shape.width, shape.width, x_.data() + i * shape.width);
    for (int64_t index = 0; index + 1 < layers; ++index)
      layer(index, rows, all, all_together_, member);
    layer(layers - 1, rows, wanted, wanted_together_, member);
  });
}

// What attend() computes together: no more rows than leave each member something to do.
void Forward::join(std::span<const Row> rows, std::span<const int64_t> wanted, std::vector<Together>& to) const {
  const int64_t most = std::clamp<int64_t>(std::ssize(wanted) * model_.shape.key_heads / team_.size(), 1, kAttendRows);
  to.clear();
  for (size_t i = 0; i < wanted.size(); ++i) {
    const auto index = static_cast<size_t>(wanted[i]);
    const bool follows = i > 0 && wanted[i] == wanted[i - 1] + 1 && rows[index].sequence == rows[index - 1].sequence &&
                         rows[index].position == rows[index - 1].position + 1;
    if (follows && to.back().count < most)
      ++to.back().count;
    else
      to.push_back({static_cast<int64_t>(i), 1});
  }
}

void Forward::layer(int64_t index, std::span<const Row> rows, std::span<const int64_t> wanted, std::span<const Together> together,
                    int member) {
  const Shape& shape = model_.shape;
  const Layer& weights = model_.layers[static_cast<size_t>(index)];
  const auto count = static_cast<int64_t>(rows.size()), kept = static_cast<int64_t>(wanted.size());
  const int64_t size = shape.head_size, half = size / 2, group = shape.heads / shape.key_heads;
  const int64_t query_width = shape.heads * size, key_width = shape.key_heads * size, qkv_width = query_width + 2 * key_width;
  const auto meet_unless_by_rows = [&](int64_t x_rows) {
    if (!by_rows(x_rows)) team_.meet();
  };
  const auto norm = [&](const Buffer& weight, const Buffer& x, int64_t x_rows) {
    const auto [begin, end] = share(x_rows, member, team_.size());
    for (int64_t i = begin; i < end; ++i)
      kernels_.rms_norm(x.data() + i * shape.width, weight.data(), normed_.data() + i * shape.width, shape.width, shape.norm_eps);
    meet_unless_by_rows(x_rows);
  };
  const auto multiply = [&](const Buffer& from, const Packed& by, Buffer& to, int64_t x_rows, Into into) {
    times(from.data(), by, to.data(), x_rows, into, member);
    meet_unless_by_rows(x_rows);
  };
  // y += scale B A x, y being columns of `to` from `column` on. A member takes rows, those that it has in what comes next: no meeting.
  const auto add_low_rank = [&](const Buffer& from, const PackedLowRank& by, Buffer& to, int64_t column, int64_t to_row, int64_t x_rows) {
    const int64_t rank = by.a.columns;
    if (rank == 0) return;
    const auto [begin, end] = share(x_rows, member, team_.size());
    float* const low = low_[static_cast<size_t>(member)].data();  // [end - begin, rank]
    kernels_.multiply(from.data() + begin * by.a.inner, by.a.panel(0), low, end - begin, by.a.inner, rank, rank, 0, panels_of(rank),
                      Into::replace);
    multiply_by(by.scale, low, (end - begin) * rank);
    kernels_.multiply(low, by.b.panel(0), to.data() + begin * to_row + column, end - begin, rank, by.b.columns, to_row, 0,
                      panels_of(by.b.columns), Into::add);
  };
  const auto& adapters = weights.adapters;

  norm(weights.input_norm, x_, count);
  multiply(normed_, weights.qkv, qkv_, count, Into::replace);
  add_low_rank(normed_, adapters.q, qkv_, 0, qkv_width, count);
  add_low_rank(normed_, adapters.k, qkv_, query_width, qkv_width, count);
  add_low_rank(normed_, adapters.v, qkv_, query_width + key_width, qkv_width, count);
  const auto [begin, end] = share(count, member, team_.size());
  for (int64_t i = begin; i < end; ++i) {
    const Row& row = rows[static_cast<size_t>(i)];
    float* const qkv = qkv_.data() + i * qkv_width;
    for (int64_t head = 0; head < shape.heads + shape.key_heads; ++head)
      rotate_head(qkv + head * size, cos_.data() + row.position * half, sin_.data() + row.position * half, half);
    float* const page = row.sequence->pages[static_cast<size_t>(row.position / kPage)];
    const int64_t slot = row.position % kPage;
    for (int64_t head = 0; head < shape.key_heads; ++head) {
      float* const keys = page + pages_.offset(index, head);
      const float* const k = qkv + query_width + head * size;
      for (int64_t d = 0; d < size; ++d)
        keys[d * kPage + slot] = k[d];
      std::copy_n(k + key_width, size, keys + size * kPage + slot * round_up(size, kLanes));
    }
  }
  team_.meet();
  // By heads first and rows second: rows that share pages read the keys of one head one after the other.
  const auto tasks = std::ssize(together);
  const auto [first, past] = share(tasks * shape.key_heads, member, team_.size());
  for (int64_t task = first; task < past; ++task) {
    const int64_t head = task / tasks;
    const auto [to, joined] = together[static_cast<size_t>(task % tasks)];
    const int64_t from = wanted[static_cast<size_t>(to)];
    const Row& row = rows[static_cast<size_t>(from)];
    kernels_.attend(qkv_.data() + from * qkv_width + head * group * size, qkv_width, row.sequence->pages.data(), pages_.offset(index, head),
                    row.position + 1, joined, group, size, 1 / std::sqrt(static_cast<float>(size)),
                    scores_[static_cast<size_t>(member)].data(), mixed_.data() + to * query_width + head * group * size, query_width);
  }
  const bool last = index + 1 == static_cast<int64_t>(model_.layers.size());
  if (last) {
    const auto [begin_kept, end_kept] = share(kept, member, team_.size());
    for (int64_t i = begin_kept; i < end_kept; ++i)
      std::copy_n(x_.data() + wanted[static_cast<size_t>(i)] * shape.width, shape.width, states_.data() + i * shape.width);
  }
  team_.meet();
  Buffer& x = last ? states_ : x_;
  multiply(mixed_, weights.o, x, kept, Into::add);
  add_low_rank(mixed_, adapters.o, x, 0, shape.width, kept);
  norm(weights.post_norm, x, kept);
  multiply(normed_, weights.gate_up, gate_up_, kept, Into::replace);
  add_low_rank(normed_, adapters.gate, gate_up_, 0, 2 * shape.inner, kept);
  add_low_rank(normed_, adapters.up, gate_up_, shape.inner, 2 * shape.inner, kept);
  const auto [begin_inner, end_inner] = share(kept, member, team_.size());
  for (int64_t i = begin_inner; i < end_inner; ++i) {
    const float* const gate = gate_up_.data() + i * 2 * shape.inner;
    kernels_.swiglu(gate, gate + shape.inner, inner_.data() + i * shape.inner, shape.inner);
  }
  meet_unless_by_rows(kept);
  multiply(inner_, weights.down, x, kept, Into::add);
  add_low_rank(inner_, adapters.down, x, 0, shape.width, kept);
}

const float* Forward::logits(int64_t begin, int64_t end) {
  const Shape& shape = model_.shape;
  const int64_t count = end - begin, columns = model_.head.columns;
  logits_.grow(count * columns);
  team_.run([&](int member) {
    const auto [first, past] = share(count, member, team_.size());
    for (int64_t i = first; i < past; ++i)
      kernels_.rms_norm(states_.data() + (begin + i) * shape.width, model_.norm.data(), normed_.data() + i * shape.width, shape.width,
                        shape.norm_eps);
    team_.meet();
    times(normed_.data(), model_.head, logits_.data(), count, Into::replace, member);
  });
  return logits_.data();
}

}  // namespace keel::engine
