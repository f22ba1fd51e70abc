#include "runtime/gradient_sums.h"

#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "support/test.h"

using keel::runtime::GradientPlace;
using keel::runtime::GradientSums;

namespace {

at::Tensor floats(const std::vector<float>& values) {
  return at::tensor(values);
}

}  // namespace

TEST_CASE("gradient sums: what passes add in place and what they return come to one sum, and nobody's storage changes", "[runtime]") {
  const std::vector<at::Tensor> weights = {floats({1, 2}), floats({3}), floats({4})};
  CHECK(GradientPlace::of(weights[0]).to == nullptr);  // no sums are open
  GradientSums sums(weights);
  const at::Tensor returned = floats({10});
  {
    const GradientSums::Open open(sums);
    CHECK(GradientPlace::of(floats({5})).to == nullptr);  // not among the weights
    const GradientPlace first = GradientPlace::of(weights[0]);
    REQUIRE(first.to != nullptr);
    CHECK_FALSE(first.add);
    first.to[0] = 1, first.to[1] = 2;
    const GradientPlace again = GradientPlace::of(weights[0].detach());  // another handle
    CHECK((again.to == first.to && again.add));
    again.to[1] += 5;
    sums.add({at::Tensor(), returned, at::Tensor()});
    sums.add({floats({100, 200}), at::Tensor(), at::Tensor()});
    const GradientPlace behind = GradientPlace::of(weights[1]);
    CHECK((behind.add && behind.to != returned.const_data_ptr<float>()));
    behind.to[0] += 1;
    sums.add({at::Tensor(), floats({0.5}), at::Tensor()});
  }
  CHECK(GradientPlace::of(weights[0]).to == nullptr);
  const std::vector<at::Tensor> matrices = {at::zeros({2, 3})};
  GradientSums of_matrix(matrices);
  {
    const GradientSums::Open open(of_matrix);
    of_matrix.add({at::tensor(std::vector<float>{1, 2, 3, 4, 5, 6}).view({3, 2}).t()});  // 1 3 5, 2 4 6, column by column
    CHECK(GradientPlace::of(matrices[0].narrow(0, 0, 1)).to == nullptr);                 // it begins there, and is another one
    GradientPlace::of(matrices[0]).to[1] += 100;
  }
  CHECK(of_matrix.take(0).equal(at::tensor(std::vector<float>{1, 103, 5, 2, 4, 6}).view({2, 3})));
  CHECK(sums.take(0).equal(floats({101, 207})));
  CHECK(sums.take(1).equal(floats({11.5})));
  CHECK(returned.equal(floats({10})));
  CHECK_FALSE(sums.take(2).defined());
  CHECK_FALSE(sums.take(0).defined());
}
