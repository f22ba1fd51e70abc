// The arithmetic of forward and backward passes in fp32, compiled for several vector widths; the processor decides at run time.
//
// Each number is the same whatever the width, the number of rows and the thread that computes it: a product adds its terms in the order of
// the inner index in blocks of kBlock, every other sum runs in kLanes partial sums, which are added in one fixed order.
#pragma once

#include <cstdint>

namespace keel::engine {

inline constexpr int64_t kPanel = 32;    // outputs of a product that are computed together
inline constexpr int64_t kBlock = 1024;  // inner index of a product: terms that are added before they join the rest
inline constexpr int64_t kLanes = 16;
inline constexpr int64_t kSumBlock = 1024;  // of a vocabulary: probabilities that are added in fp32
inline constexpr int64_t kPage = 16;        // positions of a page of keys and values
inline constexpr int64_t kAttendRows = 24;  // tokens that attend() should take together: beyond them it gains nothing

// A left matrix that stands in columns is copied into rows, so many at a time that they fit the core's cache; from one to the next it is no
// power of two.
inline constexpr int64_t kLeftRows = 256, kLeftRow = kBlock + kLanes;
inline constexpr int64_t kProductRoom = kBlock * kPanel + kLeftRows * kLeftRow;  // floats that a product needs to work in

// What a product does with its result.
enum class Into { replace, add };

// What a product computes with: its fp32 numbers, or what bf16 keeps of them (rounded to nearest, ties to even), added in fp32 either way.
enum class Arithmetic { fp32, bf16 };

// Where the gradient of a weight goes, and whether what stands there is replaced. nullptr: it is not wanted.
struct GradientOf {
  float* to = nullptr;
  Into into = Into::replace;
  explicit operator bool() const { return to != nullptr; }
};

// Weights as they are stored: fp32, or bf16, which is the upper half of an fp32 number and is widened as it is read. No result depends on
// which of them it is.
struct Stored {
  const float* fp32 = nullptr;
  const uint16_t* bf16 = nullptr;

  Stored() = default;
  Stored(const float* numbers) : fp32(numbers) {}     // NOLINT(google-explicit-constructor): fp32 is what most are
  Stored(const uint16_t* numbers) : bf16(numbers) {}  // NOLINT(google-explicit-constructor)
  Stored from(int64_t first) const { return bf16 != nullptr ? Stored(bf16 + first) : Stored(fp32 + first); }
};

// A matrix that stands anywhere: element (i, j) is data[i * row + j * column].
struct Matrix {
  Stored data;
  int64_t row, column;
};

struct Kernels {
  const char* name;  // "avx512_bf16", "avx512", "avx2", "plain"
  Arithmetic products;

  // y = x W^T, or y += x W^T, for the panels begin..end of W.
  //   x  [rows, inner], y [rows, y_stride], panels as pack() lays them out for these kernels, columns: those of W, of which the last
  //   panel may have fewer
  void (*multiply)(const float* x, const Stored& panels, float* y, int64_t rows, int64_t inner, int64_t columns, int64_t y_stride,
                   int64_t begin, int64_t end, Into into);

  // A panel of multiply(): the first `columns` of W^T [terms, columns], at most kPanel; the numbers behind them are 0.
  //   from  row-major W [columns, terms];  to  [terms, kPanel], fp32 or, where `products` is, bf16 as Packed (engine/model.h) has it
  void (*lay_out)(const float* from, int64_t terms, int64_t columns, void* to);

  // c = a b, or c += a b, for the columns begin * kPanel .. end * kPanel; a row's numbers are those of multiply() where b is W^T.
  //   a  [rows, terms] fp32, b [terms, columns], c [rows, c_row];  room  for kProductRoom floats
  void (*product)(const Matrix& a, const Matrix& b, float* c, int64_t c_row, int64_t rows, int64_t terms, int64_t columns, int64_t begin,
                  int64_t end, Into into, float* room);

  // The same in fp32, whatever `products` is.
  void (*exact_product)(const Matrix& a, const Matrix& b, float* c, int64_t c_row, int64_t rows, int64_t terms, int64_t columns,
                        int64_t begin, int64_t end, Into into, float* room);

  // y = x / sqrt(mean(x^2) + eps) * weight. Backwards: adds to dx, and returns 1 / sqrt(mean(x^2) + eps).
  void (*rms_norm)(const float* x, const float* weight, float* y, int64_t width, float eps);

  float (*rms_norm_backward)(const float* x, const float* weight, const float* dy, float* dx, int64_t width, float eps);

  // y = silu(gate) * up
  void (*swiglu)(const float* gate, const float* up, float* y, int64_t count);

  void (*swiglu_backward)(const float* gate, const float* up, const float* dy, float* dgate, float* dup, int64_t count);

  // out_j = softmax(q_j K^T * scale) V for `queries` query heads that share a head of keys and values, of `rows` tokens of a sequence that
  // follow one another. The first token sees `positions` positions, each other one its own besides.
  //   q [rows, q_row], out [rows, out_row]: of a row the first `queries` * `size`
  //   pages   of all positions, each K [size, kPage] and V [kPage, padded(size)]
  //   scores  room for max(rows, queries) * (positions + rows - 1 rounded up to kPage)
  void (*attend)(const float* q, int64_t q_row, const float* const* pages, int64_t page_offset, int64_t positions, int64_t rows,
                 int64_t queries, int64_t size, float scale, float* scores, float* out, int64_t out_row);

  // Backwards, one row: scores become p = softmax(scale * scores) over the first `positions`, dp becomes scale * p (dp - sum(p dp)); both
  // have `padded` numbers, a multiple of kLanes, and p is 0 behind the positions.
  void (*softmax_backward)(float* scores, float* dp, int64_t positions, int64_t padded, float scale);

  // values[i] = exp((logits[i] - largest) * scale); sums: of each kSumBlock of them. Returns the largest logit.
  float (*exponentials)(const float* logits, float scale, int64_t count, float* values, float* sums);

  // The same for many tokens at once, a column each; columns are a multiple of kLanes. A block: at most kSumBlock rows, of which the first
  // one's number is a multiple of kSumBlock.
  //   logits  [rows, columns]; of column_exponentials() one block, which becomes e^(scale (logit - largest))
  //   lanes   room for kLanes * columns;  sums, moments  [columns]: of e^x and of x e^x over the block
  void (*column_largest)(const float* logits, int64_t rows, int64_t columns, float* largest);  // raises largest [columns]
  void (*column_exponentials)(float* logits, int64_t rows, int64_t columns, const float* largest, float scale, float* lanes, float* sums,
                              float* moments);
  void (*scale_columns)(float* values, int64_t rows, int64_t columns, const float* by);  // multiplies column c by by[c]
};

// The best that this processor has; ATEN_CPU_CAPABILITY ("avx2", "default") asks for less, as it does of ATen.
const Kernels& kernels();

// What kernels() compute products with from now on; models that were packed before are of no use. False, and nothing changes, where this
// processor has no such products (bf16: avx512_bf16).
bool set_arithmetic(Arithmetic arithmetic);

const Kernels& plain_kernels();
const Kernels& avx2_kernels();  // x86 alone, like the next
const Kernels& avx512_kernels();
const Kernels& avx512_bf16_kernels();  // products in bf16

constexpr int64_t round_up(int64_t count, int64_t unit) {
  return (count + unit - 1) / unit * unit;
}

constexpr int64_t sum_blocks(int64_t vocabulary) {
  return round_up(vocabulary, kSumBlock) / kSumBlock;
}

}  // namespace keel::engine
