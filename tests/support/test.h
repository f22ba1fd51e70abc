// For tests of folders that use LibTorch. Torch comes first: Catch2 before it would silently turn CHECK into glog's fatal check.
#pragma once

#include <ATen/ATen.h>

#undef CHECK
#undef CHECK_FALSE
#undef CHECK_THROWS
#undef CHECK_THROWS_AS
#undef CHECK_NOTHROW
#undef REQUIRE
#undef WARN
#undef INFO
#undef FAIL

#include "support/test_plain.h"

namespace keel::test {

inline at::Tensor tensor(std::initializer_list<double> row) {
  return at::tensor(std::vector<double>(row), at::kFloat);
}

inline at::Tensor tensor(std::initializer_list<std::initializer_list<double>> rows) {
  std::vector<at::Tensor> stacked;
  for (const auto& row : rows)
    stacked.push_back(tensor(row));
  return at::stack(stacked);
}

inline at::Tensor bools(std::initializer_list<std::initializer_list<double>> rows) {
  return tensor(rows).to(at::kBool);
}

inline double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  if (a.sizes() != b.sizes()) return INFINITY;
  if (a.numel() == 0) return 0;
  const at::Tensor difference = (a.to(at::kDouble) - b.to(at::kDouble)).abs().max();
  const double value = difference.item<double>();
  return std::isnan(value) ? INFINITY : value;
}

}  // namespace keel::test

#define CHECK_CLOSE(actual, expected, tolerance)                              \
  do {                                                                        \
    const at::Tensor actual_ = (actual), expected_ = (expected);              \
    INFO(#actual << " =\n" << actual_ << "\nexpected\n" << expected_);        \
    CHECK(keel::test::largest_difference(actual_, expected_) <= (tolerance)); \
  } while (false)
