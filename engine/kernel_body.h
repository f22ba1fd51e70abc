// The kernels themselves. Included once by each source that is compiled for a vector width, after it has defined in its namespace kName,
// kWidth (floats of a vector register), kTileSums (registers that hold sums of a product) and kTileVectors (vectors of a row of them).
//
// Vectors are GCC's and Clang's vector extension. A multiplication whose result is added is one fused operation where the processor has it.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <utility>

namespace keel::engine {
namespace {

using Vector = float __attribute__((vector_size(kWidth * sizeof(float))));
using Integers = int32_t __attribute__((vector_size(kWidth * sizeof(float))));
using Halves = uint16_t __attribute__((vector_size(kWidth * sizeof(uint16_t))));

inline Vector load(const float* from) {
  Vector value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

inline Vector load(const uint16_t* from) {  // bf16
  Halves halves;
  std::memcpy(&halves, from, sizeof halves);
  const Integers bits = __builtin_convertvector(halves, Integers) << 16;
  Vector value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline float widened(float value) {
  return value;
}

inline float widened(uint16_t bf16) {
  const uint32_t bits = uint32_t{bf16} << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// Sums that stay in registers: an initialiser would clear them in memory.
template <class Sum, size_t Rows, size_t Columns>
[[gnu::always_inline]] inline void set_to_zero(Sum (&sums)[Rows][Columns]) {
#pragma GCC unroll 16
  for (auto& row : sums)
#pragma GCC unroll 16
    for (Sum& sum : row)
      sum = Sum{};
}

inline void store(float* to, const Vector& value) {
  std::memcpy(to, &value, sizeof value);
}

inline Vector all(float value) {
  return value - Vector{};  // not + Vector{}, which would turn -0 into 0
}

// kLanes floats in as many registers as it takes, so that sums do not depend on the width.
constexpr int64_t kParts = kLanes / kWidth;
struct Lanes {
  Vector part[kParts];
};

inline Lanes load_lanes(const float* from) {
  Lanes value;
  for (int64_t i = 0; i < kParts; ++i)
    value.part[i] = load(from + i * kWidth);
  return value;
}

inline void store_lanes(float* to, const Lanes& value) {
  for (int64_t i = 0; i < kParts; ++i)
    store(to + i * kWidth, value.part[i]);
}

inline Lanes all_lanes(float value) {
  Lanes lanes;
  for (auto& part : lanes.part)
    part = all(value);
  return lanes;
}

template <class Use>
inline float fold(const Lanes& lanes, Use&& use) {  // ((0 with 8) with (4 with 12)) ...: a tree over the lanes
  float values[kLanes];
  store_lanes(values, lanes);
  for (int64_t half = kLanes / 2; half > 0; half /= 2)
    for (int64_t i = 0; i < half; ++i)
      values[i] = use(values[i], values[i + half]);
  return values[0];
}

inline float sum_of(const Lanes& lanes) {
  return fold(lanes, [](float a, float b) { return a + b; });
}

inline Lanes larger(const Lanes& a, const Lanes& b) {
  Lanes most;
  for (int64_t p = 0; p < kParts; ++p)
    most.part[p] = a.part[p] > b.part[p] ? a.part[p] : b.part[p];
  return most;
}

// exp(x) for x <= 88, to 1 unit in the last place or so; 0 below -87.3. 2^n e^r with |r| <= ln(2)/2 and a Taylor polynomial of degree 7.
inline Vector exponential(Vector x) {
  const Vector lowest = all(-87.3f);
  const auto is_zero = x < lowest;
  x = is_zero ? lowest : x;
  const Vector shift = all(12582912.f);  // 1.5 * 2^23: adding it rounds to an integer
  const Vector rounded = x * 1.44269504088896341f + shift;
  const Vector n = rounded - shift;
  const Vector r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  Vector p = all(1.f / 5040);
  p = p * r + 1.f / 720;
  p = p * r + 1.f / 120;
  p = p * r + 1.f / 24;
  p = p * r + 1.f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.f;
  p = p * r + 1.f;
  Integers power;
  std::memcpy(&power, &rounded, sizeof power);
  power = (power << 23) + (127 << 23);  // the low bits of `rounded` hold n
  Vector scale;
  std::memcpy(&scale, &power, sizeof scale);
  return is_zero ? Vector{} : p * scale;
}

#include "engine/kernel_products.h"

// ---- element-wise

// Stores what fits into `count` numbers from `begin` on.
inline void store_part(float* to, int64_t begin, int64_t count, const Lanes& value) {
  if (begin + kLanes <= count) return store_lanes(to + begin, value);
  float rest[kLanes];
  store_lanes(rest, value);
  std::copy_n(rest, count - begin, to + begin);
}

inline Lanes load_part(const float* from, int64_t begin, int64_t count) {
  if (begin + kLanes <= count) return load_lanes(from + begin);
  float rest[kLanes] = {};
  std::copy_n(from + begin, count - begin, rest);
  return load_lanes(rest);
}

void rms_norm(const float* x, const float* weight, float* y, int64_t width, float eps) {
  Lanes squares = all_lanes(0);
  for (int64_t i = 0; i < width; i += kLanes) {
    const Lanes value = load_part(x, i, width);
    for (int64_t p = 0; p < kParts; ++p)
      squares.part[p] += value.part[p] * value.part[p];
  }
  const float scale = 1 / std::sqrt(sum_of(squares) / static_cast<float>(width) + eps);
  for (int64_t i = 0; i < width; i += kLanes) {
    Lanes value = load_part(x, i, width);
    const Lanes by = load_part(weight, i, width);
    for (int64_t p = 0; p < kParts; ++p)
      value.part[p] = value.part[p] * scale * by.part[p];
    store_part(y, i, width, value);
  }
}

void swiglu(const float* gate, const float* up, float* y, int64_t count) {
  const Vector lowest = all(-88.f);  // e^88 is finite, and silu(-88) is 0 for all purposes
  for (int64_t i = 0; i < count; i += kLanes) {
    Lanes value = load_part(gate, i, count);
    const Lanes by = load_part(up, i, count);
    for (int64_t p = 0; p < kParts; ++p) {
      const Vector g = value.part[p] < lowest ? lowest : value.part[p];
      value.part[p] = g / (1.f + exponential(-g)) * by.part[p];
    }
    store_part(y, i, count, value);
  }
}

// With r = 1 / sqrt(mean(x^2) + eps) and y = r x w: dx = r (w dy - r^2 x mean(x w dy)), added to dx. Returns r.
float rms_norm_backward(const float* x, const float* weight, const float* dy, float* dx, int64_t width, float eps) {
  Lanes squares = all_lanes(0), products = all_lanes(0);
  for (int64_t i = 0; i < width; i += kLanes) {
    const Lanes value = load_part(x, i, width), w = load_part(weight, i, width), d = load_part(dy, i, width);
    for (int64_t p = 0; p < kParts; ++p) {
      squares.part[p] += value.part[p] * value.part[p];
      products.part[p] += value.part[p] * (w.part[p] * d.part[p]);
    }
  }
  const auto count = static_cast<float>(width);
  const float r = 1 / std::sqrt(sum_of(squares) / count + eps), along = r * r * (sum_of(products) / count);
  for (int64_t i = 0; i < width; i += kLanes) {
    const Lanes value = load_part(x, i, width), w = load_part(weight, i, width), d = load_part(dy, i, width);
    Lanes sum = load_part(dx, i, width);
    for (int64_t p = 0; p < kParts; ++p)
      sum.part[p] += r * (w.part[p] * d.part[p] - value.part[p] * along);
    store_part(dx, i, width, sum);
  }
  return r;
}

// With s = sigmoid(gate): d(gate) = dy up s (1 + gate (1 - s)), d(up) = dy gate s.
void swiglu_backward(const float* gate, const float* up, const float* dy, float* dgate, float* dup, int64_t count) {
  const Vector lowest = all(-88.f);
  for (int64_t i = 0; i < count; i += kLanes) {
    Lanes g = load_part(gate, i, count), u = load_part(up, i, count);
    const Lanes d = load_part(dy, i, count);
    for (int64_t p = 0; p < kParts; ++p) {
      const Vector x = g.part[p] < lowest ? lowest : g.part[p];
      const Vector s = 1.f / (1.f + exponential(-x));
      g.part[p] = d.part[p] * u.part[p] * s * (1.f + x * (1.f - s));
      u.part[p] = d.part[p] * x * s;
    }
    store_part(dgate, i, count, g);
    store_part(dup, i, count, u);
  }
}

// ---- attention

void softmax(float* scores, int64_t positions, int64_t padded) {
  for (int64_t i = positions; i < padded; ++i)
    scores[i] = -INFINITY;
  Lanes most = load_lanes(scores);
  for (int64_t i = kLanes; i < padded; i += kLanes)
    most = larger(most, load_lanes(scores + i));
  const float largest = fold(most, [](float a, float b) { return std::max(a, b); });
  Lanes sums = all_lanes(0);
  for (int64_t i = 0; i < padded; i += kLanes)
    for (int64_t p = 0; p < kParts; ++p) {
      const Vector value = exponential(load(scores + i + p * kWidth) - largest);
      sums.part[p] += value;
      store(scores + i + p * kWidth, value);
    }
  const float total = 1 / sum_of(sums);
  for (int64_t i = 0; i < padded; i += kWidth)
    store(scores + i, load(scores + i) * total);
}

// One row of attention backwards: scores become p = softmax(scale * scores) over the first `positions`, and dp becomes
// scale * p (dp - sum(p dp)).
void softmax_backward(float* scores, float* dp, int64_t positions, int64_t padded, float scale) {
  for (int64_t i = 0; i < padded; i += kWidth)
    store(scores + i, load(scores + i) * scale);
  softmax(scores, positions, padded);
  std::fill(dp + positions, dp + padded, 0.f);
  Lanes sums = all_lanes(0);
  for (int64_t i = 0; i < padded; i += kLanes)
    for (int64_t p = 0; p < kParts; ++p)
      sums.part[p] += load(scores + i + p * kWidth) * load(dp + i + p * kWidth);
  const float mean = sum_of(sums);
  for (int64_t i = 0; i < padded; i += kWidth)
    store(dp + i, scale * load(scores + i) * (load(dp + i) - mean));
}

#include "engine/kernel_attention.h"

// ---- softmax over the vocabulary

float exponentials(const float* logits, float scale, int64_t count, float* values, float* sums) {
  const int64_t whole = count / kLanes * kLanes;
  float largest = -INFINITY;
  if (whole > 0) {
    Lanes most = load_lanes(logits);
    for (int64_t i = kLanes; i < whole; i += kLanes)
      most = larger(most, load_lanes(logits + i));
    largest = fold(most, [](float a, float b) { return std::max(a, b); });
  }
  for (int64_t i = whole; i < count; ++i)
    largest = std::max(largest, logits[i]);
  for (int64_t begin = 0; begin < count; begin += kSumBlock) {
    const int64_t end = std::min(count, begin + kSumBlock);
    Lanes block = all_lanes(0);
    for (int64_t i = begin; i < end; i += kLanes) {
      Lanes lanes = load_part(logits, i, count);
      for (int64_t p = 0; p < kParts; ++p)
        lanes.part[p] = exponential((lanes.part[p] - largest) * scale);
      store_part(values, i, count, lanes);
      if (i + kLanes > count) lanes = load_part(values, i, count);  // without what was filled up
      for (int64_t p = 0; p < kParts; ++p)
        block.part[p] += lanes.part[p];
    }
    sums[begin / kSumBlock] = sum_of(block);
  }
  return largest;
}

// The same for columns: logits [rows, columns] of `columns` tokens, rows beginning with a block.
void column_largest(const float* logits, int64_t rows, int64_t columns, float* largest) {
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t c = 0; c < columns; c += kWidth) {
      const Vector most = load(largest + c), next = load(logits + row * columns + c);
      store(largest + c, most > next ? most : next);
    }
}

void column_exponentials(float* logits, int64_t rows, int64_t columns, const float* largest, float scale, float* lanes, float* sums,
                         float* moments) {
  std::fill_n(lanes, kLanes * columns, 0.f);
  std::fill_n(moments, columns, 0.f);
  for (int64_t row = 0; row < rows; ++row) {
    float* const from = logits + row * columns;
    float* const lane = lanes + row % kLanes * columns;
    for (int64_t c = 0; c < columns; c += kWidth) {
      const Vector exponent = (load(from + c) - load(largest + c)) * scale, value = exponential(exponent);
      store(from + c, value);
      store(lane + c, load(lane + c) + value);
      store(moments + c, load(moments + c) + value * exponent);
    }
  }
  for (int64_t half = kLanes / 2; half > 0; half /= 2)  // as fold() does
    for (int64_t i = 0; i < half; ++i)
      for (int64_t c = 0; c < columns; c += kWidth)
        store(lanes + i * columns + c, load(lanes + i * columns + c) + load(lanes + (i + half) * columns + c));
  std::copy_n(lanes, columns, sums);
}

void scale_columns(float* values, int64_t rows, int64_t columns, const float* by) {
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t c = 0; c < columns; c += kWidth)
      store(values + row * columns + c, load(values + row * columns + c) * load(by + c));
}

}  // namespace

constexpr Kernels kTable = {
    .name = kName,
    .products = Arithmetic::fp32,
    .multiply = multiply,
    .lay_out = lay_out,
    .product = product,
    .exact_product = product,
    .rms_norm = rms_norm,
    .rms_norm_backward = rms_norm_backward,
    .swiglu = swiglu,
    .swiglu_backward = swiglu_backward,
    .attend = attend,
    .softmax_backward = softmax_backward,
    .exponentials = exponentials,
    .column_largest = column_largest,
    .column_exponentials = column_exponentials,
    .scale_columns = scale_columns,
};

}  // namespace keel::engine
