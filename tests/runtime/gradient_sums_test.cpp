#include "runtime/gradient_sums.h"

#include <ATen/ops/tensor.h>

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
  CHECK(sums.take(0).equal(floats({101, 207})));
  CHECK(sums.take(1).equal(floats({11.5})));
  CHECK(returned.equal(floats({10})));
  CHECK_FALSE(sums.take(2).defined());
  CHECK_FALSE(sums.take(0).defined());
}
