// The kernels for AVX-512 registers with products in bf16 (vdpbf16ps); CMakeLists.txt compiles this source for processors that have them.
#ifdef __x86_64__
#include <immintrin.h>

#include <cstdlib>

#include "engine/kernels.h"

namespace keel::engine {
namespace {
constexpr const char* kName = "avx512_bf16";
constexpr int64_t kWidth = 16, kTileSums = 24, kTileVectors = 2;
}  // namespace
}  // namespace keel::engine

#include "engine/kernel_body.h"

namespace keel::engine {
namespace {

// Two neighbours of the inner index in bf16, and a vector of such pairs. One operation multiplies and adds both numbers of a pair; numbers
// below the normal ones count as 0.
struct Pair {
  uint16_t first, second;
};
struct Pairs {
  __m512i bits;
};

inline Pairs load(const Pair* from) {
  return {_mm512_loadu_si512(from)};
}

inline Pairs all(const Pair& pair) {
  int32_t bits;
  std::memcpy(&bits, &pair, sizeof bits);
  return {_mm512_set1_epi32(bits)};
}

inline void add_product(Vector& sum, const Pairs& a, const Pairs& b) {
  sum = (Vector)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a.bits, (__m512bh)b.bits);
}

inline __mmask16 first(int64_t count) {
  return static_cast<__mmask16>(count >= 16 ? 0xffff : (1 << count) - 1);
}

inline __mmask32 first32(int64_t count) {
  return static_cast<__mmask32>(count >= 32 ? ~uint32_t{0} : (uint32_t{1} << count) - 1);
}

// Up to 16 numbers that stand side by side, in bf16, one in each 32 bits' lower half.
inline __m512i halves(const float* from, __mmask16 which) {
  return _mm512_maskz_cvtepu16_epi32(which, (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(which, from)));
}

inline __m512i halves(const uint16_t* from, __mmask16 which) {
  return _mm512_maskz_cvtepu16_epi32(which, _mm256_maskz_loadu_epi16(which, from));
}

// Up to 32 numbers that stand side by side, as 16 pairs.
inline __m512i neighbours(const float* from, int64_t count) {
  const __mmask32 which = first32(count);
  const __m512 lower = _mm512_maskz_loadu_ps(static_cast<__mmask16>(which), from);
  const __m512 upper = _mm512_maskz_loadu_ps(static_cast<__mmask16>(which >> 16), from + 16);
  return (__m512i)_mm512_cvtne2ps_pbh(upper, lower);
}

inline __m512i neighbours(const uint16_t* from, int64_t count) {
  return _mm512_maskz_loadu_epi16(first32(count), from);
}

// Rows of pairs: pairs[k / 2 * stride + r] of numbers (k, r) and (k + 1, r), which stand at from[k * row + r]; `count` of r, a multiple of
// 16 or as many as there are.
template <class Number>
void pair_rows(const Number* from, int64_t row, int64_t terms, int64_t count, Pair* pairs, int64_t stride) {
  for (int64_t k = 0; k < terms; k += 2)
    for (int64_t r = 0; r < count; r += 16) {
      const __mmask16 here = first(count - r), next = k + 1 < terms ? here : __mmask16{0};
      const __m512i lower = halves(from + k * row + r, here);
      const __m512i upper = next != 0 ? halves(from + (k + 1) * row + r, next) : __m512i{};
      _mm512_mask_storeu_epi32(pairs + k / 2 * stride + r, here, _mm512_or_si512(lower, _mm512_maskz_slli_epi32(next, upper, 16)));
    }
}

// The same where the numbers stand at from[r * column + k], by squares of 16 rows and 16 pairs.
template <class Number>
void pair_columns(const Number* from, int64_t column, int64_t terms, int64_t count, Pair* pairs, int64_t stride) {
  for (int64_t r = 0; r < count; r += 16)
    for (int64_t k = 0; k < terms; k += 32) {
      Vector square[kWidth];
      for (int64_t i = 0; i < kWidth; ++i)
        square[i] = r + i < count ? (Vector)neighbours(from + (r + i) * column + k, terms - k) : Vector{};
      exchange<kWidth / 2>(square, std::make_integer_sequence<int64_t, kWidth>{});
      for (int64_t i = 0; i < std::min(kWidth, (terms - k + 1) / 2); ++i)
        _mm512_mask_storeu_epi32(pairs + (k / 2 + i) * stride + r, first(count - r), (__m512i)square[i]);
    }
}

// What copy_panel() does, in pairs: b's first kPanel columns and rows 0..terms, missing columns as 0; b's rows or its columns stand side by
// side.
template <class Number>
void pair_panel(const Number* b, int64_t b_row, int64_t b_column, int64_t columns, int64_t terms, Pair* panel) {
  const int64_t here = std::min(kPanel, columns);
  if (here < kPanel) std::fill_n(panel, (terms + 1) / 2 * kPanel, Pair{});
  if (b_column == 1)
    pair_rows(b, b_row, terms, here, panel, kPanel);
  else
    pair_columns(b, b_column, terms, here, panel, kPanel);
}

constexpr int64_t kGroup = 192;  // rows whose pairs, kBlock terms each, stay in the core's cache

// This thread's room for them.
Pair* room() {
  struct Freed {
    Pair* pairs = static_cast<Pair*>(std::aligned_alloc(64, kGroup* kBlock / 2 * sizeof(Pair)));
    ~Freed() { std::free(pairs); }
  };
  static thread_local Freed freed;
  if (freed.pairs == nullptr) std::abort();
  return freed.pairs;
}

// The pairs of rows of a and `terms` of the inner index, as multiply_panel() reads them.
struct Left {
  const Pair* pairs;
  int64_t row, term;
};
Left left(const Matrix& a, int64_t rows, int64_t terms) {
  Pair* const pairs = room();
  if (a.row == 1 && a.column != 1) {
    pair_rows(a.data.fp32, a.column, terms, rows, pairs, kGroup);
    return {pairs, 1, kGroup};
  }
  for (int64_t r = 0; r < rows; ++r)  // a.column is 1
    for (int64_t k = 0; k < terms; k += 32)
      _mm512_mask_storeu_epi32(pairs + (r * kBlock + k) / 2, first((terms - k + 1) / 2),
                               neighbours(a.data.fp32 + r * a.row + k, terms - k));
  return {pairs, kBlock / 2, 1};
}

void multiply_bf16(const float* x, const Stored& panels, float* y, int64_t rows, int64_t inner, int64_t columns, int64_t y_stride,
                   int64_t begin, int64_t end, Into into) {
  const auto* const pairs = reinterpret_cast<const Pair*>(panels.bf16);
  const int64_t panel_pairs = round_up(inner, 2) / 2 * kPanel;
  for (int64_t block = 0; block < inner; block += kBlock)
    for (int64_t row = 0; row < rows; row += kGroup) {
      const int64_t terms = std::min(kBlock, inner - block), here = std::min(kGroup, rows - row);
      const Left a = left({x + row * inner + block, inner, 1}, here, terms);
      for (int64_t panel = begin; panel < end; ++panel)
        multiply_panel(a.pairs, a.row, a.term, pairs + panel * panel_pairs + block / 2 * kPanel, (terms + 1) / 2,
                       y + row * y_stride + panel * kPanel, y_stride, here, columns - panel * kPanel, into == Into::add || block > 0,
                       panel + 1 < end ? pairs + (panel + 1) * panel_pairs + block / 2 * kPanel : nullptr);
    }
}

void product_bf16(const Matrix& a, const Matrix& b, float* c, int64_t c_row, int64_t rows, int64_t terms, int64_t columns, int64_t begin,
                  int64_t end, Into into, float* panel) {
  auto* const pairs = reinterpret_cast<Pair*>(panel);
  if (terms == 0 && into == Into::replace) clear(c, c_row, rows, columns, begin, end);
  for (int64_t block = 0; block < terms; block += kBlock)
    for (int64_t row = 0; row < rows; row += kGroup) {
      const int64_t together = std::min(kBlock, terms - block), here = std::min(kGroup, rows - row);
      const Left from = left({a.data.fp32 + row * a.row + block * a.column, a.row, a.column}, here, together);
      for (int64_t p = begin; p < end; ++p) {
        as_stored(b.data, [&](const auto* numbers) {
          pair_panel(numbers + block * b.row + p * kPanel * b.column, b.row, b.column, columns - p * kPanel, together, pairs);
        });
        multiply_panel(from.pairs, from.row, from.term, static_cast<const Pair*>(pairs), (together + 1) / 2, c + row * c_row + p * kPanel,
                       c_row, here, columns - p * kPanel, into == Into::add || block > 0);
      }
    }
}

void lay_out_bf16(const float* from, int64_t terms, int64_t columns, void* to) {
  pair_panel(from, 1, terms, columns, terms, static_cast<Pair*>(to));
}

constexpr Kernels bf16_table() {
  Kernels table = kTable;
  table.products = Arithmetic::bf16;
  table.multiply = multiply_bf16;
  table.lay_out = lay_out_bf16;
  table.product = product_bf16;
  return table;
}

constexpr Kernels kBf16Table = bf16_table();

}  // namespace

const Kernels& avx512_bf16_kernels() {
  return kBf16Table;
}

}  // namespace keel::engine
#endif
