#include "engine/trunk.h"

#include <algorithm>
#include <cmath>

#include "engine/rotary.h"

namespace keel::engine {
namespace {

constexpr int64_t kQueries = 64;  // of attention, backwards together: later ones see more keys, which the earlier ones compute in vain

Matrix rows_of(Stored data, int64_t width) {
  return {data, width, 1};
}

Matrix transposed(const Matrix& matrix) {
  return {matrix.data, matrix.column, matrix.row};
}

bool wants_any(const LayerGradients& g) {
  return g.input_norm || g.q || g.k || g.v || g.o || g.post_norm || g.gate || g.up || g.down ||
         std::ranges::any_of(g.adapters.all(), [](const LowRankGradients* adapter) { return adapter->a || adapter->b; });
}

int64_t most_rank(const Weights& weights) {
  int64_t most = 0;
  for (const LayerWeights& layer : weights.layers)
    for (const LowRank* adapter : layer.adapters.all())
      most = std::max(most, adapter->rank);
  return most;
}

}  // namespace

Trunk::Trunk(const Shape& shape, Weights weights, int threads)
    : shape_(shape), weights_(std::move(weights)), team_(threads), kernels_(kernels()), scratch_(static_cast<size_t>(threads)) {
  for (Scratch& scratch : scratch_)
    scratch.room = Buffer(kProductRoom);
}

// c (+)= a b; the members take rows or, of few rows, columns. All members meet at the end.
void Trunk::multiply(const Matrix& a, const Matrix& b, float* c, int64_t c_row, int64_t rows, int64_t terms, int64_t columns, Into into,
                     int member) {
  float* const room = scratch_[static_cast<size_t>(member)].room.data();
  if (take_rows(rows, team_.size())) {
    const auto [begin, end] = share(rows, member, team_.size());
    kernels_.product({a.data.from(begin * a.row), a.row, a.column}, b, c + begin * c_row, c_row, end - begin, terms, columns, 0,
                     panels_of(columns), into, room);
  } else {
    const auto [begin, end] = share(panels_of(columns), member, team_.size());
    kernels_.product(a, b, c, c_row, rows, terms, columns, begin, end, into, room);
  }
  team_.meet();
}

// y += scale B A x. A member takes rows, those that it has in each_row(): nobody needs to meet.
void Trunk::add_low_rank(const Buffer& x, int64_t in, const LowRank& by, Buffer& low, float* y, int64_t y_row, int64_t out, int member) {
  if (by.rank == 0) return;
  const auto [begin, end] = share(tokens_, member, team_.size());
  const int64_t rank = by.rank, rows = end - begin;
  float* const room = scratch_[static_cast<size_t>(member)].room.data();
  float* const mine = low.data() + begin * rank;
  kernels_.product(rows_of(x.data() + begin * in, in), transposed(rows_of(by.a, in)), mine, rank, rows, in, rank, 0, panels_of(rank),
                   Into::replace, room);
  multiply_by(by.scale, mine, rows * rank);
  kernels_.product(rows_of(mine, rank), transposed(rows_of(by.b, rank)), y + begin * y_row, y_row, rows, rank, out, 0, panels_of(out),
                   Into::add, room);
}

// With low = scale A x: dlow = scale B^T dy, dx += A^T dlow, dB = dy low^T, dA = dlow x^T, summed over tokens. All members meet before dA.
void Trunk::low_rank_backward(const float* dy, int64_t dy_row, int64_t out, const Buffer& x, int64_t in, const LowRank& by,
                              const Buffer& low, const LowRankGradients& gradients, Buffer& dx, int member) {
  if (by.rank == 0) return;
  const auto [begin, end] = share(tokens_, member, team_.size());
  const int64_t rank = by.rank, rows = end - begin;
  float* const room = scratch_[static_cast<size_t>(member)].room.data();
  float* const mine = d_low_.data() + begin * rank;
  kernels_.product(rows_of(dy + begin * dy_row, dy_row), rows_of(by.b, rank), mine, rank, rows, out, rank, 0, panels_of(rank),
                   Into::replace, room);
  multiply_by(by.scale, mine, rows * rank);
  kernels_.product(rows_of(mine, rank), rows_of(by.a, in), dx.data() + begin * in, in, rows, rank, in, 0, panels_of(in), Into::add, room);
  if (gradients.b) {  // a member takes rows of B, which are more than its columns
    const auto [first, past] = share(out, member, team_.size());
    kernels_.product(transposed(rows_of(dy + first, dy_row)), rows_of(low.data(), rank), gradients.b.to + first * rank, rank, past - first,
                     tokens_, rank, 0, panels_of(rank), gradients.b.into, room);
  }
  team_.meet();
  if (gradients.a)
    multiply(transposed(rows_of(d_low_.data(), rank)), rows_of(x.data(), in), gradients.a.to, in, rank, tokens_, in, gradients.a.into,
             member);
}

void Trunk::each_row(int member, const std::function<void(int64_t)>& use) const {
  const auto [begin, end] = share(tokens_, member, team_.size());
  for (int64_t row = begin; row < end; ++row)
    use(row);
}

void Trunk::norm(const Buffer& x, const float* weight, int member) {
  const int64_t width = shape_.width;
  each_row(member, [&](int64_t t) { kernels_.rms_norm(x.data() + t * width, weight, normed_.data() + t * width, width, shape_.norm_eps); });
  team_.meet();
}

// Adds to dx_ what comes through d_normed_.
void Trunk::norm_backward(const Buffer& x, const float* weight, GradientOf d_weight, int member) {
  const int64_t width = shape_.width;
  each_row(member, [&](int64_t t) {
    scales_.data()[t] = kernels_.rms_norm_backward(x.data() + t * width, weight, d_normed_.data() + t * width, dx_.data() + t * width,
                                                   width, shape_.norm_eps);
  });
  team_.meet();
  if (d_weight) {
    const auto [begin, end] = share(width, member, team_.size());
    if (d_weight.into == Into::replace) std::fill(d_weight.to + begin, d_weight.to + end, 0.f);
    for (int64_t t = 0; t < tokens_; ++t)
      for (int64_t i = begin; i < end; ++i)
        d_weight.to[i] += d_normed_.data()[t * width + i] * x.data()[t * width + i] * scales_.data()[t];
  }
  team_.meet();
}

void Trunk::rotate(float* qkv, bool backwards, int member) const {
  const int64_t half = shape_.head_size / 2, qkv_width = (shape_.heads + 2 * shape_.key_heads) * shape_.head_size;
  each_row(member, [&](int64_t t) {
    const int64_t angle = positions_[static_cast<size_t>(t)] * half;
    for (int64_t head = 0; head < shape_.heads + shape_.key_heads; ++head)
      rotate_head(qkv + t * qkv_width + head * shape_.head_size, cos_.data() + angle, sin_.data() + angle, half, backwards);
  });
}

Buffer& Trunk::input_of(int64_t layer) {
  return layer < kept_from_ ? passing_inputs_[layer % 2] : inputs_[static_cast<size_t>(layer)];
}

Trunk::Kept& Trunk::kept_of(int64_t layer) {
  return layer < kept_from_ || keeping_ == Keeping::inputs ? passing_ : kept_[static_cast<size_t>(layer)];
}

void Trunk::forward(std::span<const int64_t> ids, std::span<const Stretch> sequences, float* states, int64_t kept_from, Keeping keeping) {
  kept_from_ = kept_from;
  keeping_ = keeping;
  ids_.assign(ids.begin(), ids.end());
  sequences_.assign(sequences.begin(), sequences.end());
  tokens_ = static_cast<int64_t>(ids.size());
  starts_.clear();
  positions_.clear();
  int64_t longest = 0;
  for (const Stretch& sequence : sequences) {
    starts_.push_back(static_cast<int64_t>(positions_.size()));
    for (int64_t t = 0; t < sequence.length; ++t)
      positions_.push_back(sequence.shared + t);
    longest = std::max(longest, sequence.shared + sequence.length);
  }
  grow_angles(cos_, sin_, weights_.frequencies, shape_.head_size / 2, longest);
  const int64_t query_width = shape_.heads * shape_.head_size, qkv_width = query_width + 2 * shape_.key_heads * shape_.head_size;
  const auto layers = static_cast<int64_t>(weights_.layers.size());
  inputs_.resize(weights_.layers.size() + 1);
  kept_.resize(weights_.layers.size());
  for (int64_t i = 0; i <= layers; ++i)
    input_of(i).grow(tokens_ * shape_.width);
  for (int64_t i = 0; i < layers; ++i) {
    Kept& kept = kept_of(i);
    kept.qkv.grow(tokens_ * qkv_width);
    kept.mixed.grow(tokens_ * query_width);
    kept.middle.grow(tokens_ * shape_.width);
    kept.gate_up.grow(tokens_ * 2 * shape_.inner);
    const auto adapters = weights_.layers[static_cast<size_t>(i)].adapters.all();
    for (size_t p = 0; p < adapters.size(); ++p)
      kept.low.all()[p]->grow(tokens_ * adapters[p]->rank);
  }
  normed_.grow(tokens_ * shape_.width);
  inner_.grow(tokens_ * shape_.inner);
  const int64_t wide = round_up(shape_.head_size, kLanes), group = shape_.heads / shape_.key_heads;
  for (Scratch& scratch : scratch_) {
    scratch.pages.grow(round_up(longest, kPage) * (shape_.head_size + wide));
    scratch.scores.grow(std::max(group, kAttendRows) * round_up(longest, kPage));
  }
  team_.run([&](int member) {
    each_row(member, [&](int64_t t) {
      std::copy_n(weights_.embedding + ids_[static_cast<size_t>(t)] * shape_.width, shape_.width, input_of(0).data() + t * shape_.width);
    });
    for (int64_t i = 0; i < layers; ++i) {
      const LayerWeights& layer = weights_.layers[static_cast<size_t>(i)];
      layer_to_gates(layer, input_of(i), kept_of(i), member);
      layer_from_gates(layer, kept_of(i), input_of(i + 1), member);
    }
    each_row(member, [&](int64_t t) {
      kernels_.rms_norm(input_of(layers).data() + t * shape_.width, weights_.norm, states + t * shape_.width, shape_.width,
                        shape_.norm_eps);
    });
  });
}

// As far as the backward pass needs it.
void Trunk::layer_to_gates(const LayerWeights& weights, const Buffer& x, Kept& kept, int member) {
  const int64_t width = shape_.width, inner = shape_.inner, query_width = shape_.heads * shape_.head_size,
                key_width = shape_.key_heads * shape_.head_size, qkv_width = query_width + 2 * key_width;
  const auto through = [&](const Buffer& from, Stored weight, int64_t in, float* y, int64_t y_row, int64_t columns, Into into) {
    multiply(rows_of(from.data(), in), transposed(rows_of(weight, in)), y, y_row, tokens_, in, columns, into, member);
  };
  const auto& adapters = weights.adapters;
  auto& low = kept.low;
  norm(x, weights.input_norm, member);
  through(normed_, weights.q, width, kept.qkv.data(), qkv_width, query_width, Into::replace);
  through(normed_, weights.k, width, kept.qkv.data() + query_width, qkv_width, key_width, Into::replace);
  through(normed_, weights.v, width, kept.qkv.data() + query_width + key_width, qkv_width, key_width, Into::replace);
  add_low_rank(normed_, width, adapters.q, low.q, kept.qkv.data(), qkv_width, query_width, member);
  add_low_rank(normed_, width, adapters.k, low.k, kept.qkv.data() + query_width, qkv_width, key_width, member);
  add_low_rank(normed_, width, adapters.v, low.v, kept.qkv.data() + query_width + key_width, qkv_width, key_width, member);
  rotate(kept.qkv.data(), false, member);
  each_row(member, [&](int64_t t) { std::copy_n(x.data() + t * width, width, kept.middle.data() + t * width); });
  team_.meet();
  attend(kept, kept.mixed, member);
  team_.meet();
  through(kept.mixed, weights.o, query_width, kept.middle.data(), width, width, Into::add);
  add_low_rank(kept.mixed, query_width, adapters.o, low.o, kept.middle.data(), width, width, member);
  norm(kept.middle, weights.post_norm, member);
  through(normed_, weights.gate, width, kept.gate_up.data(), 2 * inner, inner, Into::replace);
  through(normed_, weights.up, width, kept.gate_up.data() + inner, 2 * inner, inner, Into::replace);
  add_low_rank(normed_, width, adapters.gate, low.gate, kept.gate_up.data(), 2 * inner, inner, member);
  add_low_rank(normed_, width, adapters.up, low.up, kept.gate_up.data() + inner, 2 * inner, inner, member);
}

void Trunk::layer_from_gates(const LayerWeights& weights, Kept& kept, Buffer& out, int member) {
  const int64_t width = shape_.width, inner = shape_.inner;
  each_row(member, [&](int64_t t) {
    const float* const gate = kept.gate_up.data() + t * 2 * inner;
    kernels_.swiglu(gate, gate + inner, inner_.data() + t * inner, inner);
    std::copy_n(kept.middle.data() + t * width, width, out.data() + t * width);
  });
  team_.meet();
  multiply(rows_of(inner_.data(), inner), transposed(rows_of(weights.down, inner)), out.data(), width, tokens_, inner, width, Into::add,
           member);
  add_low_rank(inner_, inner, weights.adapters.down, kept.low.down, out.data(), width, width, member);
}

// A task is one head of keys of one sequence, heads first. Sequences that share tokens add to the same gradients: then a member takes whole
// heads.
std::pair<int64_t, int64_t> Trunk::attention_tasks(int member) const {
  const auto count = static_cast<int64_t>(sequences_.size());
  if (std::ranges::all_of(sequences_, [](const Stretch& sequence) { return sequence.shared == 0; }))
    return share(count * shape_.key_heads, member, team_.size());
  const auto [begin, end] = share(shape_.key_heads, member, team_.size());
  return {begin * count, end * count};
}

int64_t Trunk::token_at(size_t sequence, int64_t position) const {
  const Stretch& stretch = sequences_[sequence];
  return position < stretch.shared ? stretch.shared_from + position : starts_[sequence] + position - stretch.shared;
}

// Keys and values are laid out as Forward's pages are.
void Trunk::attend(const Kept& kept, Buffer& mixed, int member) {
  const int64_t size = shape_.head_size, wide = round_up(size, kLanes), group = shape_.heads / shape_.key_heads;
  const int64_t query_width = shape_.heads * size, key_width = shape_.key_heads * size, qkv_width = query_width + 2 * key_width;
  const float scale = 1 / std::sqrt(static_cast<float>(size));
  Scratch& scratch = scratch_[static_cast<size_t>(member)];
  const auto [begin, end] = attention_tasks(member);
  for (int64_t task = begin; task < end; ++task) {
    const auto count = static_cast<int64_t>(sequences_.size());
    const auto index = static_cast<size_t>(task % count);
    const int64_t head = task / count, page_floats = kPage * (size + wide);
    const Stretch& sequence = sequences_[index];
    scratch.table.clear();
    for (int64_t position = 0; position < sequence.shared + sequence.length; ++position) {
      float* const page = scratch.pages.data() + position / kPage * page_floats;
      if (position % kPage == 0) scratch.table.push_back(page);
      const float* const k = kept.qkv.data() + token_at(index, position) * qkv_width + query_width + head * size;
      for (int64_t d = 0; d < size; ++d)
        page[d * kPage + position % kPage] = k[d];
      std::copy_n(k + key_width, size, page + size * kPage + position % kPage * wide);
    }
    for (int64_t first = 0; first < sequence.length; first += kAttendRows) {
      const int64_t token = starts_[index] + first, rows = std::min(kAttendRows, sequence.length - first);
      kernels_.attend(kept.qkv.data() + token * qkv_width + head * group * size, qkv_width, scratch.table.data(), 0,
                      sequence.shared + first + 1, rows, group, size, scale, scratch.scores.data(),
                      mixed.data() + token * query_width + head * group * size, query_width);
    }
  }
}

// From d_mixed_ to d_qkv_, in fp32, as attend() is. With p = softmax(scale q K^T) and dp = do V^T: dV = p^T do, ds = scale p (dp -
// sum(p dp)), dq = ds K, dK = ds^T q.
void Trunk::attend_backward(const Kept& kept, int member) {
  const int64_t size = shape_.head_size, group = shape_.heads / shape_.key_heads;
  const int64_t query_width = shape_.heads * size, key_width = shape_.key_heads * size, qkv_width = query_width + 2 * key_width;
  const float scale = 1 / std::sqrt(static_cast<float>(size));
  Scratch& scratch = scratch_[static_cast<size_t>(member)];
  const auto times = [&](const Matrix& a, const Matrix& b, float* c, int64_t c_row, int64_t rows, int64_t terms, int64_t columns,
                         Into into) {
    kernels_.exact_product(a, b, c, c_row, rows, terms, columns, 0, panels_of(columns), into, scratch.room.data());
  };
  const Matrix keys = rows_of(scratch.keys.data(), size), values = rows_of(scratch.values.data(), size);
  const auto [begin, end] = attention_tasks(member);
  for (int64_t task = begin; task < end; ++task) {
    const auto count = static_cast<int64_t>(sequences_.size());
    const auto index = static_cast<size_t>(task % count);
    const Stretch& sequence = sequences_[index];
    const int64_t key_head = task / count, positions = sequence.shared + sequence.length, padded = round_up(positions, kPanel);
    const int64_t k_at = query_width + key_head * size, v_at = k_at + key_width;
    for (int64_t position = 0; position < positions; ++position) {
      const float* const token = kept.qkv.data() + token_at(index, position) * qkv_width;
      std::copy_n(token + k_at, size, scratch.keys.data() + position * size);
      std::copy_n(token + v_at, size, scratch.values.data() + position * size);
    }
    std::fill_n(scratch.d_keys.data(), positions * size, 0.f);
    std::fill_n(scratch.d_values.data(), positions * size, 0.f);
    float *const p = scratch.scores.data(), *const ds = scratch.d_scores.data();
    for (int64_t head = key_head * group; head < (key_head + 1) * group; ++head)
      for (int64_t first = 0; first < sequence.length; first += kQueries) {
        const int64_t rows = std::min(kQueries, sequence.length - first), token = starts_[index] + first, seen = sequence.shared + first;
        const Matrix queries = rows_of(kept.qkv.data() + token * qkv_width + head * size, qkv_width);
        const Matrix d_out = rows_of(d_mixed_.data() + token * query_width + head * size, query_width);
        times(queries, transposed(keys), p, padded, rows, size, seen + rows, Into::replace);
        times(d_out, transposed(values), ds, padded, rows, size, seen + rows, Into::replace);
        for (int64_t r = 0; r < rows; ++r)
          kernels_.softmax_backward(p + r * padded, ds + r * padded, seen + r + 1, round_up(seen + rows, kLanes), scale);
        times(rows_of(ds, padded), keys, d_qkv_.data() + token * qkv_width + head * size, qkv_width, rows, seen + rows, size,
              Into::replace);
        times(transposed(rows_of(ds, padded)), queries, scratch.d_keys.data(), size, seen + rows, rows, size, Into::add);
        times(transposed(rows_of(p, padded)), d_out, scratch.d_values.data(), size, seen + rows, rows, size, Into::add);
      }
    for (int64_t position = 0; position < positions; ++position) {
      float* const token = d_qkv_.data() + token_at(index, position) * qkv_width;
      for (int64_t d = 0; d < size; ++d) {
        token[k_at + d] += scratch.d_keys.data()[position * size + d];
        token[v_at + d] += scratch.d_values.data()[position * size + d];
      }
    }
  }
}

void Trunk::backward(const float* d_states, const Gradients& gradients) {
  const int64_t width = shape_.width, query_width = shape_.heads * shape_.head_size,
                qkv_width = query_width + 2 * shape_.key_heads * shape_.head_size;
  dx_.grow(tokens_ * width);
  d_normed_.grow(tokens_ * width);
  d_inner_.grow(tokens_ * shape_.inner);
  d_gate_up_.grow(tokens_ * 2 * shape_.inner);
  d_mixed_.grow(tokens_ * query_width);
  d_qkv_.grow(tokens_ * qkv_width);
  d_low_.grow(tokens_ * most_rank(weights_));
  scales_.grow(tokens_);
  if (keeping_ == Keeping::inputs) passing_inputs_[0].grow(tokens_ * width);
  int64_t longest = 0;
  for (const Stretch& sequence : sequences_)
    longest = std::max(longest, sequence.shared + sequence.length);
  for (Scratch& scratch : scratch_) {
    for (Buffer* scores : {&scratch.scores, &scratch.d_scores})
      scores->grow(kQueries * round_up(longest, kPanel));
    for (Buffer* rows : {&scratch.keys, &scratch.values, &scratch.d_keys, &scratch.d_values})
      rows->grow(longest * shape_.head_size);
  }
  int64_t lowest = static_cast<int64_t>(weights_.layers.size());
  if (gradients.embedding != nullptr) lowest = 0;
  for (int64_t i = lowest - 1; i >= 0; --i)
    if (wants_any(gradients.layers[static_cast<size_t>(i)])) lowest = i;
  team_.run([&](int member) {
    each_row(member, [&](int64_t t) {
      std::fill_n(dx_.data() + t * width, width, 0.f);
      std::copy_n(d_states + t * width, width, d_normed_.data() + t * width);
    });
    norm_backward(inputs_.back(), weights_.norm, gradients.norm, member);
    for (auto i = static_cast<int64_t>(weights_.layers.size()) - 1; i >= lowest; --i) {
      const auto index = static_cast<size_t>(i);
      const LayerWeights& layer = weights_.layers[index];
      if (keeping_ == Keeping::inputs && index + 1 < weights_.layers.size()) {  // what the last one kept is still there
        layer_to_gates(layer, inputs_[index], passing_, member);
        if (layer.adapters.down.rank > 0) layer_from_gates(layer, passing_, passing_inputs_[0], member);  // for scale A x of its adapter
        team_.meet();
      }
      layer_backward(layer, inputs_[index], kept_of(i), gradients.layers[index], member);
    }
    if (gradients.embedding == nullptr) return;
    const auto [begin, end] = share(width, member, team_.size());
    for (int64_t t = 0; t < tokens_; ++t)
      for (int64_t i = begin; i < end; ++i)
        gradients.embedding[ids_[static_cast<size_t>(t)] * width + i] += dx_.data()[t * width + i];
  });
}

// dx_ is the gradient of the layer's output, and then of its input.
void Trunk::layer_backward(const LayerWeights& weights, const Buffer& x, const Kept& kept, const LayerGradients& gradients, int member) {
  const int64_t width = shape_.width, inner = shape_.inner, query_width = shape_.heads * shape_.head_size,
                key_width = shape_.key_heads * shape_.head_size, qkv_width = query_width + 2 * key_width;
  // y = x W^T: dx = dy W and dW = dy^T x
  const auto to_input = [&](const float* dy, int64_t dy_row, int64_t out, Stored weight, int64_t in, Buffer& to, Into into) {
    multiply(rows_of(dy, dy_row), rows_of(weight, in), to.data(), in, tokens_, out, in, into, member);
  };
  const auto to_weight = [&](const float* dy, int64_t dy_row, int64_t out, const Buffer& from, int64_t in, GradientOf to) {
    if (to) multiply(transposed(rows_of(dy, dy_row)), rows_of(from.data(), in), to.to, in, out, tokens_, in, to.into, member);
  };

  const auto& adapters = weights.adapters;
  const auto& low = kept.low;
  each_row(member, [&](int64_t t) {
    const float* const gate = kept.gate_up.data() + t * 2 * inner;
    kernels_.swiglu(gate, gate + inner, inner_.data() + t * inner, inner);
  });
  to_input(dx_.data(), width, width, weights.down, inner, d_inner_, Into::replace);
  to_weight(dx_.data(), width, width, inner_, inner, gradients.down);
  low_rank_backward(dx_.data(), width, width, inner_, inner, adapters.down, low.down, gradients.adapters.down, d_inner_, member);
  each_row(member, [&](int64_t t) {
    const float* const gate = kept.gate_up.data() + t * 2 * inner;
    float* const d_gate = d_gate_up_.data() + t * 2 * inner;
    kernels_.swiglu_backward(gate, gate + inner, d_inner_.data() + t * inner, d_gate, d_gate + inner, inner);
  });
  norm(kept.middle, weights.post_norm, member);
  const float *const d_gate = d_gate_up_.data(), *const d_up = d_gate + inner;
  to_input(d_gate, 2 * inner, inner, weights.gate, width, d_normed_, Into::replace);
  to_input(d_up, 2 * inner, inner, weights.up, width, d_normed_, Into::add);
  to_weight(d_gate, 2 * inner, inner, normed_, width, gradients.gate);
  to_weight(d_up, 2 * inner, inner, normed_, width, gradients.up);
  low_rank_backward(d_gate, 2 * inner, inner, normed_, width, adapters.gate, low.gate, gradients.adapters.gate, d_normed_, member);
  low_rank_backward(d_up, 2 * inner, inner, normed_, width, adapters.up, low.up, gradients.adapters.up, d_normed_, member);
  norm_backward(kept.middle, weights.post_norm, gradients.post_norm, member);

  to_input(dx_.data(), width, width, weights.o, query_width, d_mixed_, Into::replace);
  to_weight(dx_.data(), width, width, kept.mixed, query_width, gradients.o);
  low_rank_backward(dx_.data(), width, width, kept.mixed, query_width, adapters.o, low.o, gradients.adapters.o, d_mixed_, member);
  each_row(member, [&](int64_t t) { std::fill_n(d_qkv_.data() + t * qkv_width + query_width, 2 * key_width, 0.f); });
  team_.meet();
  attend_backward(kept, member);
  team_.meet();
  rotate(d_qkv_.data(), true, member);
  norm(x, weights.input_norm, member);
  const float *const dq = d_qkv_.data(), *const dk = dq + query_width, *const dv = dk + key_width;
  to_input(dq, qkv_width, query_width, weights.q, width, d_normed_, Into::replace);
  to_input(dk, qkv_width, key_width, weights.k, width, d_normed_, Into::add);
  to_input(dv, qkv_width, key_width, weights.v, width, d_normed_, Into::add);
  to_weight(dq, qkv_width, query_width, normed_, width, gradients.q);
  to_weight(dk, qkv_width, key_width, normed_, width, gradients.k);
  to_weight(dv, qkv_width, key_width, normed_, width, gradients.v);
  low_rank_backward(dq, qkv_width, query_width, normed_, width, adapters.q, low.q, gradients.adapters.q, d_normed_, member);
  low_rank_backward(dk, qkv_width, key_width, normed_, width, adapters.k, low.k, gradients.adapters.k, d_normed_, member);
  low_rank_backward(dv, qkv_width, key_width, normed_, width, adapters.v, low.v, gradients.adapters.v, d_normed_, member);
  norm_backward(x, weights.input_norm, gradients.input_norm, member);
}

}  // namespace keel::engine
