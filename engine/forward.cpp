#include "engine/forward.h"

#include <algorithm>
#include <cmath>

namespace keel::engine {
namespace {

// Turns the pairs (i, i + h/2) of a head by the angles of its position.
void rotate(float* head, const float* cos, const float* sin, int64_t half) {
  for (int64_t i = 0; i < half; ++i) {
    const float a = head[i], b = head[i + half];
    head[i] = a * cos[i] - b * sin[i];
    head[i + half] = b * cos[i] + a * sin[i];
  }
}

}  // namespace

Forward::Forward(const Model& model, const PagePool& pages, Team& team)
    : model_(model), pages_(pages), team_(team), kernels_(kernels()), scores_(static_cast<size_t>(team.size())) {}

const float* Forward::run(std::span<const Row> rows) {
  const Shape& shape = model_.shape;
  const auto count = static_cast<int64_t>(rows.size());
  const int64_t query_width = shape.heads * shape.head_size;
  x_.grow(count * shape.width);
  normed_.grow(count * shape.width);
  qkv_.grow(count * (query_width + 2 * shape.key_heads * shape.head_size));
  mixed_.grow(count * query_width);
  gate_up_.grow(count * 2 * shape.inner);
  inner_.grow(count * shape.inner);
  int64_t longest = 0;
  for (const Row& row : rows)
    longest = std::max(longest, row.position + 1);
  for (auto& scores : scores_)
    scores.grow(shape.heads / shape.key_heads * round_up(longest, 8 * kPage));
  team_.run([&](int member) {
    const auto [begin, end] = share(count, member, team_.size());
    for (int64_t i = begin; i < end; ++i)
      std::copy_n(model_.embedding + rows[static_cast<size_t>(i)].id * shape.width, shape.width, x_.data() + i * shape.width);
    for (int64_t index = 0; index < static_cast<int64_t>(model_.layers.size()); ++index)
      layer(index, rows, member);
  });
  return x_.data();
}

void Forward::layer(int64_t index, std::span<const Row> rows, int member) {
  const Shape& shape = model_.shape;
  const Layer& weights = model_.layers[static_cast<size_t>(index)];
  const auto count = static_cast<int64_t>(rows.size());
  const int64_t size = shape.head_size, half = size / 2, group = shape.heads / shape.key_heads;
  const int64_t query_width = shape.heads * size, key_width = shape.key_heads * size, qkv_width = query_width + 2 * key_width;
  const auto [begin, end] = share(count, member, team_.size());  // of the rows, for what is computed row by row
  const auto norm = [&](const Buffer& weight) {
    for (int64_t i = begin; i < end; ++i)
      kernels_.rms_norm(x_.data() + i * shape.width, weight.data(), normed_.data() + i * shape.width, shape.width, shape.norm_eps);
    team_.meet();
  };
  const auto multiply = [&](const Buffer& from, const Packed& by, Buffer& to, Into into) {
    const auto [first, last] = share(by.count(), member, team_.size());
    kernels_.multiply(from.data(), by.panels.data(), to.data(), count, by.inner, by.columns, by.columns, first, last, into);
    team_.meet();
  };

  norm(weights.input_norm);
  multiply(normed_, weights.qkv, qkv_, Into::replace);
  for (int64_t i = begin; i < end; ++i) {
    const Row& row = rows[static_cast<size_t>(i)];
    float* const qkv = qkv_.data() + i * qkv_width;
    for (int64_t head = 0; head < shape.heads + shape.key_heads; ++head)
      rotate(qkv + head * size, model_.cos.data() + row.position * half, model_.sin.data() + row.position * half, half);
    float* const page = row.sequence->pages[static_cast<size_t>(row.position / kPage)];
    const int64_t slot = row.position % kPage;
    for (int64_t head = 0; head < shape.key_heads; ++head) {
      float* const keys = page + pages_.offset(index, head);
      float* const values = keys + size * kPage + slot * round_up(size, kLanes);
      const float* const k = qkv + query_width + head * size;
      for (int64_t d = 0; d < size; ++d)
        keys[d * kPage + slot] = k[d];
      std::copy_n(k + key_width, size, values);
    }
  }
  team_.meet();
  // By heads first and rows second: rows that share pages read the keys of one head one after the other.
  const auto [first, last] = share(count * shape.key_heads, member, team_.size());
  for (int64_t task = first; task < last; ++task) {
    const int64_t head = task / count, i = task % count;
    const Row& row = rows[static_cast<size_t>(i)];
    kernels_.attend(qkv_.data() + i * qkv_width + head * group * size, row.sequence->pages.data(), pages_.offset(index, head),
                    row.position + 1, group, size, 1 / std::sqrt(static_cast<float>(size)), scores_[static_cast<size_t>(member)].data(),
                    mixed_.data() + i * query_width + head * group * size);
  }
  team_.meet();
  multiply(mixed_, weights.o, x_, Into::add);
  norm(weights.post_norm);
  multiply(normed_, weights.gate_up, gate_up_, Into::replace);
  for (int64_t i = begin; i < end; ++i) {
    const float* const gate = gate_up_.data() + i * 2 * shape.inner;
    kernels_.swiglu(gate, gate + shape.inner, inner_.data() + i * shape.inner, shape.inner);
  }
  team_.meet();
  multiply(inner_, weights.down, x_, Into::add);
}

const float* Forward::logits(std::span<const int64_t> chosen) {
  const Shape& shape = model_.shape;
  const auto count = static_cast<int64_t>(chosen.size());
  logits_.grow(count * shape.vocabulary);
  team_.run([&](int member) {
    const auto [begin, end] = share(count, member, team_.size());
    for (int64_t i = begin; i < end; ++i)
      kernels_.rms_norm(x_.data() + chosen[static_cast<size_t>(i)] * shape.width, model_.norm.data(), normed_.data() + i * shape.width,
                        shape.width, shape.norm_eps);
    team_.meet();
    const auto [first, last] = share(model_.head.count(), member, team_.size());
    kernels_.multiply(normed_.data(), model_.head.panels.data(), logits_.data(), count, shape.width, shape.vocabulary, shape.vocabulary,
                      first, last, Into::replace);
  });
  return logits_.data();
}

}  // namespace keel::engine
