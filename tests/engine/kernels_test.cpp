#include "engine/kernels.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "core/rng.h"
#include "engine/model.h"
#include "support/test_plain.h"

using keel::engine::Arithmetic;
using keel::engine::Into;
using keel::engine::kBlock;
using keel::engine::Kernels;
using keel::engine::kLanes;
using keel::engine::kPage;
using keel::engine::kSumBlock;
using keel::engine::Layout;
using keel::engine::pack;
using keel::engine::Packed;
using keel::engine::panels_of;
using keel::engine::round_up;
using keel::engine::Team;
using Floats = std::vector<float>;

namespace {

Floats normals(int64_t count, const char* purpose, double deviation = 1) {
  keel::core::Stream stream(3, purpose);
  Floats values(static_cast<size_t>(count));
  for (auto& value : values)
    value = static_cast<float>(deviation * stream.normal());
  return values;
}

// Those that this processor can run.
std::vector<const Kernels*> all_kernels() {
  std::vector<const Kernels*> all{&keel::engine::plain_kernels()};
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) all.push_back(&keel::engine::avx2_kernels());
  if (__builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) all.push_back(&keel::engine::avx512_kernels());
#endif
  return all;
}

Floats product(const Kernels& kernels, const Floats& x, const Packed& weights, int64_t rows, Floats y, Into into) {
  kernels.multiply(x.data(), weights.panel(0), y.data(), rows, weights.inner, weights.columns, weights.columns, 0,
                   panels_of(weights.columns), into);
  return y;
}

// The largest distance between two lists, in units of the second one's largest number.
double distance(const Floats& a, const std::vector<double>& b) {
  REQUIRE(a.size() == b.size());
  double most = 0, unit = 1e-30;
  for (size_t i = 0; i < a.size(); ++i) {
    most = std::max(most, std::abs(a[i] - b[i]));
    unit = std::max(unit, std::abs(b[i]));
  }
  return most / unit;
}

// The widths with fused operations agree to the bit; plain kernels round a product before they add it.
void check_same(const Kernels* kernels, const Floats& found, Floats& reference) {
  if (kernels == &keel::engine::plain_kernels()) return;
  if (reference.empty()) reference = found;
  CHECK(found == reference);
}

}  // namespace

TEST_CASE("kernels: a product is x W^T, for every number of rows, columns and terms", "[engine]") {
  Team team(1);
  const auto [columns, inner] =
      GENERATE(std::pair<int64_t, int64_t>{1, 1}, std::pair<int64_t, int64_t>{31, 24}, std::pair<int64_t, int64_t>{32, 16},
               std::pair<int64_t, int64_t>{75, 48}, std::pair<int64_t, int64_t>{40, kBlock + 7});
  const Floats weights = normals(columns * inner, "weights");
  const Packed packed = pack({{weights.data(), columns}}, inner, Layout::panels, team);
  for (const int64_t rows : {1, 2, 3, 5, 12, 13, 29}) {
    const Floats x = normals(rows * inner, "x"), before = normals(rows * columns, "y");
    std::vector<double> expected, added;
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < columns; ++c) {
        double sum = 0;
        for (int64_t k = 0; k < inner; ++k)
          sum += double{x[static_cast<size_t>(r * inner + k)]} * weights[static_cast<size_t>(c * inner + k)];
        expected.push_back(sum);
        added.push_back(sum + before[expected.size() - 1]);
      }
    for (const Kernels* kernels : all_kernels()) {
      INFO(kernels->name << ", " << rows << " rows, " << columns << " columns of " << inner);
      CHECK(distance(product(*kernels, x, packed, rows, before, Into::replace), expected) < 2e-6);
      CHECK(distance(product(*kernels, x, packed, rows, before, Into::add), added) < 2e-6);
    }
  }
}

TEST_CASE("kernels: a row's product is the same to the bit whatever rows stand beside it, and with AVX2 as with AVX-512", "[engine]") {
  Team team(1);
  constexpr int64_t kColumns = 75, kInner = kBlock + 40, kRows = 29;
  const Floats weights = normals(kColumns * kInner, "weights"), x = normals(kRows * kInner, "x");
  const Packed packed = pack({{weights.data(), kColumns}}, kInner, Layout::panels, team);
  Floats reference;
  for (const Kernels* kernels : all_kernels()) {
    const Floats whole = product(*kernels, x, packed, kRows, Floats(kRows * kColumns), Into::replace);
    for (int64_t rows = 1; rows < kRows; ++rows) {
      const Floats last(x.end() - rows * kInner, x.end());
      CHECK(product(*kernels, last, packed, rows, Floats(static_cast<size_t>(rows * kColumns)), Into::replace) ==
            Floats(whole.end() - rows * kColumns, whole.end()));
    }
    check_same(kernels, whole, reference);
  }
}

TEST_CASE("kernels: matrices are packed one below the other, by any number of threads", "[engine]") {
  Team one(1), three(3);
  const Floats first = normals(40 * 24, "first"), second = normals(7 * 24, "second");
  Floats both = first;
  both.insert(both.end(), second.begin(), second.end());
  const Packed joined = pack({{first.data(), 40}, {second.data(), 7}}, 24, Layout::panels, three),
               whole = pack({{both.data(), 47}}, 24, Layout::panels, one);
  CHECK(joined.columns == 47);
  REQUIRE(joined.panels.size() == whole.panels.size());
  CHECK(std::memcmp(joined.panels.data(), whole.panels.data(), static_cast<size_t>(whole.panels.size()) * sizeof(float)) == 0);
}

TEST_CASE("kernels: weights in bf16 give what the same numbers in fp32 give, to the bit, packed or as they lie", "[engine]") {
  Team team(2);
  const auto [columns, inner] = GENERATE(std::pair<int64_t, int64_t>{1, 1}, std::pair<int64_t, int64_t>{31, 24},
                                         std::pair<int64_t, int64_t>{75, 49}, std::pair<int64_t, int64_t>{40, kBlock + 23});
  // bf16 is the upper half of an fp32 number.
  Floats weights = normals(columns * inner, "weights");
  std::vector<uint16_t> halves;
  for (float& weight : weights) {
    uint32_t bits = 0;
    std::memcpy(&bits, &weight, sizeof bits);
    halves.push_back(static_cast<uint16_t>(bits >> 16));
    bits &= 0xffff0000u;
    std::memcpy(&weight, &bits, sizeof bits);
  }
  const Packed wide = pack({{weights.data(), columns}}, inner, Layout::panels, team),
               narrow = pack({{halves.data(), columns}}, inner, Layout::panels, team);
  REQUIRE(narrow.panels.size() == 0);
  CHECK(pack({{halves.data(), columns}}, inner, Layout::as_they_lie, team).bf16_panels.size() == 0);
  const auto rows = GENERATE(int64_t{1}, 3, 29);
  const Floats x = normals(rows * inner, "x"), dy = normals(rows * columns, "dy");
  for (const Kernels* kernels : all_kernels()) {
    INFO(kernels->name << ", " << rows << " rows, " << columns << " columns of " << inner);
    const Floats expected = product(*kernels, x, wide, rows, Floats(dy.size()), Into::replace);
    Floats found(dy.size());
    kernels->multiply(x.data(), narrow.bf16_panels.data(), found.data(), rows, inner, columns, columns, 0, panels_of(columns),
                      Into::replace);
    CHECK(found == expected);
    Floats room(static_cast<size_t>(keel::engine::kProductRoom));
    for (const keel::engine::Stored& stored : {keel::engine::Stored(weights.data()), keel::engine::Stored(halves.data())}) {
      std::ranges::fill(found, 0.f);
      kernels->product({x.data(), inner, 1}, {stored, 1, inner}, found.data(), columns, rows, inner, columns, 0, panels_of(columns),
                       Into::replace, room.data());
      CHECK(found == expected);
    }
    // dx = dy W
    Floats wide_dx(x.size()), narrow_dx(x.size());
    kernels->product({dy.data(), columns, 1}, {weights.data(), inner, 1}, wide_dx.data(), inner, rows, columns, inner, 0, panels_of(inner),
                     Into::replace, room.data());
    kernels->product({dy.data(), columns, 1}, {halves.data(), inner, 1}, narrow_dx.data(), inner, rows, columns, inner, 0, panels_of(inner),
                     Into::replace, room.data());
    CHECK(narrow_dx == wide_dx);
  }
}

TEST_CASE("kernels: a left matrix that stands in columns gives what it gives in rows, to the bit, whatever its size", "[engine]") {
  const auto rows = GENERATE(int64_t{1}, 7, 29, keel::engine::kLeftRows + 21);
  const auto terms = GENERATE(int64_t{1}, 16, 43, kBlock + 21);
  constexpr int64_t kColumns = 40;
  const Floats in_rows = normals(rows * terms, "a"), b = normals(terms * kColumns, "b"), before = normals(rows * kColumns, "c");
  Floats in_columns(in_rows.size());
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t k = 0; k < terms; ++k)
      in_columns[static_cast<size_t>(k * rows + r)] = in_rows[static_cast<size_t>(r * terms + k)];
  for (const Kernels* kernels : all_kernels())
    for (const Into into : {Into::replace, Into::add}) {
      INFO(kernels->name << ", " << rows << " rows, " << terms << " terms");
      Floats expected = before, found = before, room(static_cast<size_t>(keel::engine::kProductRoom));
      const auto multiply = [&, rows = rows](const keel::engine::Matrix& a, Floats& c) {
        kernels->product(a, {b.data(), kColumns, 1}, c.data(), kColumns, rows, terms, kColumns, 0, panels_of(kColumns), into, room.data());
      };
      multiply({in_rows.data(), terms, 1}, expected);
      multiply({in_columns.data(), 1, rows}, found);
      CHECK(found == expected);
    }
}

// Exactly what bf16 keeps of a number, by halves of the distance to its neighbours.
float kept_by_bf16(float value) {
  int exponent = 0;
  const double scaled = std::ldexp(std::frexp(double{value}, &exponent), 8);  // eight digits before the point
  return static_cast<float>(std::ldexp(std::nearbyint(scaled), exponent - 8));
}

TEST_CASE("kernels: products in bf16 are those of the rounded numbers, packed or not, whatever stands beside a row", "[engine]") {
  if (!keel::engine::set_arithmetic(Arithmetic::bf16)) SKIP("this processor has no products in bf16");
  const struct Reset {
    ~Reset() { keel::engine::set_arithmetic(Arithmetic::fp32); }
  } reset;
  const Kernels& kernels = keel::engine::kernels();
  REQUIRE(kernels.products == Arithmetic::bf16);
  Team team(2);
  const auto [columns, inner] = GENERATE(std::pair<int64_t, int64_t>{1, 1}, std::pair<int64_t, int64_t>{31, 25},
                                         std::pair<int64_t, int64_t>{75, 49}, std::pair<int64_t, int64_t>{40, kBlock + 23});
  const auto rows = GENERATE(int64_t{1}, 3, 29, 200);
  INFO(rows << " rows, " << columns << " columns of " << inner);
  const Floats weights = normals(columns * inner, "weights"), x = normals(rows * inner, "x"), dy = normals(rows * columns, "dy");
  const auto at = [](const Floats& values, int64_t i) { return double{kept_by_bf16(values[static_cast<size_t>(i)])}; };
  std::vector<double> y, dx(x.size()), dw(weights.size());
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) {
      y.push_back(0);
      for (int64_t k = 0; k < inner; ++k) {
        y.back() += at(x, r * inner + k) * at(weights, c * inner + k);
        dx[static_cast<size_t>(r * inner + k)] += at(dy, r * columns + c) * at(weights, c * inner + k);
        dw[static_cast<size_t>(c * inner + k)] += at(dy, r * columns + c) * at(x, r * inner + k);
      }
    }
  const Packed packed = pack({{weights.data(), columns}}, inner, Layout::panels, team);
  const Floats found = product(kernels, x, packed, rows, Floats(dy.size()), Into::replace);
  CHECK(distance(found, y) < 2e-6);
  const Floats last(x.end() - inner, x.end());
  CHECK(product(kernels, last, packed, 1, Floats(static_cast<size_t>(columns)), Into::replace) ==
        Floats(found.end() - columns, found.end()));

  Floats room(static_cast<size_t>(keel::engine::kProductRoom)), again(dy.size()), found_dx(x.size()), found_dw(weights.size(), 1.f);
  kernels.product({x.data(), inner, 1}, {weights.data(), 1, inner}, again.data(), columns, rows, inner, columns, 0, panels_of(columns),
                  Into::replace, room.data());
  CHECK(again == found);
  kernels.product({dy.data(), columns, 1}, {weights.data(), inner, 1}, found_dx.data(), inner, rows, columns, inner, 0, panels_of(inner),
                  Into::replace, room.data());
  CHECK(distance(found_dx, dx) < 2e-6);
  kernels.product({dy.data(), 1, columns}, {x.data(), inner, 1}, found_dw.data(), inner, columns, rows, inner, 0, panels_of(inner),
                  Into::add, room.data());
  for (float& value : found_dw)
    value -= 1;
  CHECK(distance(found_dw, dw) < 1e-5);

  // Weights that are stored in bf16 give the same.
  std::vector<uint16_t> halves;
  for (const float weight : weights) {
    const float kept = kept_by_bf16(weight);
    uint32_t bits = 0;
    std::memcpy(&bits, &kept, sizeof bits);
    halves.push_back(static_cast<uint16_t>(bits >> 16));
  }
  CHECK(product(kernels, x, pack({{halves.data(), columns}}, inner, Layout::panels, team), rows, Floats(dy.size()), Into::replace) ==
        found);
  Floats narrow_dx(x.size());
  kernels.product({x.data(), inner, 1}, {halves.data(), 1, inner}, again.data(), columns, rows, inner, columns, 0, panels_of(columns),
                  Into::replace, room.data());
  kernels.product({dy.data(), columns, 1}, {halves.data(), inner, 1}, narrow_dx.data(), inner, rows, columns, inner, 0, panels_of(inner),
                  Into::replace, room.data());
  CHECK(again == found);
  CHECK(narrow_dx == found_dx);
}

TEST_CASE("kernels: RMSNorm and SwiGLU are their formulas", "[engine]") {
  for (const int64_t count : {1, 8, 16, 24, 50}) {
    const Floats x = normals(count, "x"), weight = normals(count, "weight"), gate = normals(count, "gate", 30);
    double squares = 0;
    for (const float value : x)
      squares += double{value} * value;
    std::vector<double> normed, gated;
    for (size_t i = 0; i < x.size(); ++i) {
      normed.push_back(x[i] / std::sqrt(squares / static_cast<double>(count) + 1e-5) * weight[i]);
      gated.push_back(gate[i] / (1 + std::exp(-double{gate[i]})) * x[i]);
    }
    Floats reference_normed, reference_gated;
    for (const Kernels* kernels : all_kernels()) {
      Floats y(x.size());
      kernels->rms_norm(x.data(), weight.data(), y.data(), count, 1e-5f);
      CHECK(distance(y, normed) < 1e-6);
      check_same(kernels, y, reference_normed);
      kernels->swiglu(gate.data(), x.data(), y.data(), count);
      CHECK(distance(y, gated) < 1e-6);
      check_same(kernels, y, reference_gated);
    }
  }
  for (const Kernels* kernels : all_kernels()) {  // far out the exponential neither overflows nor turns into a NaN
    const Floats gate = {-1e30f, -200.f, -88.5f, 200.f, 1e30f}, up = {1, 1, 1, 1, 1};
    Floats y(5);
    kernels->swiglu(gate.data(), up.data(), y.data(), 5);
    CHECK(std::abs(y[0]) < 1e-30);
    CHECK(std::abs(y[1]) < 1e-30);
    CHECK(std::abs(y[2]) < 1e-30);
    CHECK(y[3] == 200.f);
    CHECK(y[4] == 1e30f);
  }
}

TEST_CASE("kernels: exponentials are within two units in the last place, and so are the sums of their blocks", "[engine]") {
  for (const int64_t count : {1, 15, 16, 1024, 1025, 3000}) {
    Floats logits = normals(count, "logits", 12);
    if (count > 20) logits[17] = -1e30f;  // a token that cannot come
    const float largest = *std::max_element(logits.begin(), logits.end());
    for (const float scale : {1.f, 1 / .7f}) {
      Floats reference, reference_sums;
      for (const Kernels* kernels : all_kernels()) {
        Floats values(logits.size()), sums(static_cast<size_t>((count + kSumBlock - 1) / kSumBlock));
        CHECK(kernels->exponentials(logits.data(), scale, count, values.data(), sums.data()) == largest);
        std::vector<double> blocks(sums.size());
        for (size_t i = 0; i < values.size(); ++i) {
          const double expected = std::exp(double{(logits[i] - largest) * scale});
          blocks[i / kSumBlock] += expected;
          CHECK(std::abs(values[i] - expected) <= 2.4e-7 * expected + 1e-37);
        }
        CHECK(distance(sums, blocks) < 1e-6);
        check_same(kernels, values, reference);
        check_same(kernels, sums, reference_sums);
      }
    }
  }
}

TEST_CASE("kernels: attention is softmax(q K^T / sqrt(h)) V over the positions so far, in pages", "[engine]") {
  constexpr int64_t kMost = 100;
  for (const int64_t size : {4, 8, 16, 48, 50, 64, 80, 128}) {
    const int64_t wide = round_up(size, kLanes), offset = 3, page_floats = offset + kPage * (size + wide);
    const Floats keys = normals(kMost * size, "keys"), values = normals(kMost * size, "values");
    std::vector<Floats> pages((kMost + kPage - 1) / kPage, Floats(static_cast<size_t>(page_floats)));
    std::vector<const float*> table;
    for (auto& page : pages)
      table.push_back(page.data());
    for (int64_t i = 0; i < kMost; ++i)
      for (int64_t d = 0; d < size; ++d) {
        float* const page = pages[static_cast<size_t>(i / kPage)].data() + offset;
        page[d * kPage + i % kPage] = keys[static_cast<size_t>(i * size + d)];
        page[size * kPage + i % kPage * wide + d] = values[static_cast<size_t>(i * size + d)];
      }
    for (const int64_t queries : {1, 2, 3, 4, 7}) {
      const Floats q = normals(queries * size, "q", 2);
      for (const int64_t positions : {1, 15, 16, 17, 63, 64, 65, 100}) {
        std::vector<double> expected;
        for (int64_t j = 0; j < queries; ++j) {
          std::vector<double> weights, mixed(static_cast<size_t>(size));
          double total = 0;
          for (int64_t i = 0; i < positions; ++i) {
            double score = 0;
            for (int64_t d = 0; d < size; ++d)
              score += double{q[static_cast<size_t>(j * size + d)]} * keys[static_cast<size_t>(i * size + d)];
            weights.push_back(std::exp(score / std::sqrt(static_cast<double>(size))));
            total += weights.back();
          }
          for (int64_t i = 0; i < positions; ++i)
            for (int64_t d = 0; d < size; ++d)
              mixed[static_cast<size_t>(d)] += weights[static_cast<size_t>(i)] / total * values[static_cast<size_t>(i * size + d)];
          expected.insert(expected.end(), mixed.begin(), mixed.end());
        }
        Floats reference;
        for (const Kernels* kernels : all_kernels()) {
          INFO(kernels->name << ", size " << size << ", " << queries << " queries, " << positions << " positions");
          Floats out(static_cast<size_t>(queries * size)), scores(static_cast<size_t>(queries * round_up(positions, kPage)));
          kernels->attend(q.data(), queries * size, table.data(), offset, positions, 1, queries, size,
                          1 / std::sqrt(static_cast<float>(size)), scores.data(), out.data(), queries * size);
          CHECK(distance(out, expected) < 3e-6);
          check_same(kernels, out, reference);
        }
      }
    }
  }
}

TEST_CASE("kernels: tokens that attend together get what each gets alone, and see nothing behind themselves", "[engine]") {
  constexpr int64_t kOffset = 3;
  for (const int64_t size : {8, 16, 48, 50, 64, 80, 128})
    for (const int64_t queries : {1, 3})
      for (const int64_t positions : {1, 15, 16, 41})  // of the first token
        for (const int64_t rows : {2, 5, 9, 13, 17, 24}) {
          const int64_t wide = round_up(size, kLanes), seen = positions + rows - 1;
          const int64_t q_row = queries * size + 5, out_row = queries * size + 7;
          const Floats numbers = normals(seen * size * 2, "keys and values", 3), q = normals(rows * q_row, "q", 4);
          std::vector<Floats> pages(static_cast<size_t>((seen + kPage - 1) / kPage),
                                    Floats(static_cast<size_t>(kOffset + kPage * (size + wide)), NAN));
          std::vector<const float*> table;
          for (auto& page : pages)
            table.push_back(page.data());
          const auto place = [&](int64_t i, float by) {
            for (int64_t d = 0; d < size; ++d) {
              float* const page = pages[static_cast<size_t>(i / kPage)].data() + kOffset;
              page[d * kPage + i % kPage] = by * numbers[static_cast<size_t>(2 * i * size + d)];
              page[size * kPage + i % kPage * wide + d] = by * numbers[static_cast<size_t>((2 * i + 1) * size + d)];
            }
          };
          for (int64_t i = 0; i < seen; ++i)
            place(i, 1);
          for (const Kernels* kernels : all_kernels()) {
            INFO(kernels->name << ", size " << size << ", " << queries << " queries, " << rows << " rows from " << positions << " on");
            Floats together(static_cast<size_t>(rows * out_row)), alone = together;
            Floats scores(static_cast<size_t>(std::max(rows, queries) * round_up(seen, kPage)));
            const auto attend = [&](int64_t row, int64_t count, Floats& out) {
              kernels->attend(q.data() + row * q_row, q_row, table.data(), kOffset, positions + row, count, queries, size,
                              1 / std::sqrt(static_cast<float>(size)), scores.data(), out.data() + row * out_row, out_row);
            };
            attend(0, rows, together);
            for (int64_t row = 0; row < rows; ++row)
              attend(row, 1, alone);
            CHECK(together == alone);
            for (int64_t row = 1; row < rows; ++row) {  // what this token brings, the tokens before it do not see
              place(positions + row - 1, INFINITY);
              attend(0, rows, together);
              place(positions + row - 1, 1);
              CHECK(std::equal(together.begin(), together.begin() + row * out_row, alone.begin()));
            }
          }
        }
}
