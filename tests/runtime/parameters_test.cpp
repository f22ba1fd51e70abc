#include "runtime/parameters.h"

#include <set>

#include "support/test.h"

using keel::runtime::digest;
using keel::runtime::Parameters;

namespace {

Parameters two_tensors() {
  return {{"a", at::arange(6, at::kFloat).view({2, 3})}, {"b", at::ones({2})}};
}

}  // namespace

TEST_CASE("parameters: the digest changes with any weight, name or shape, and with nothing else", "[runtime]") {
  std::set<std::string> seen = {digest(two_tensors())};
  for (size_t k = 0; k < 2; ++k) {
    for (int64_t i = 0; i < two_tensors()[k].tensor.numel(); ++i) {
      const Parameters changed = two_tensors();
      changed[k].tensor.view(-1)[i] += 1e-6;
      CHECK(seen.insert(digest(changed)).second);
    }
  }
  Parameters renamed = two_tensors(), reshaped = two_tensors(), swapped = two_tensors(), negative_zero = two_tensors();
  renamed[1].name = "c";
  reshaped[0].tensor = reshaped[0].tensor.view({3, 2});
  std::swap(swapped[0], swapped[1]);
  negative_zero[0].tensor[0][0] = -0.0;
  for (const auto& other : {renamed, reshaped, swapped, negative_zero})
    CHECK(seen.insert(digest(other)).second);

  Parameters strided = two_tensors();
  strided[0].tensor = strided[0].tensor.t().contiguous().t();
  keel::runtime::set_trainable(strided, true);
  CHECK(digest(strided) == digest(two_tensors()));
}

TEST_CASE("parameters: elements are counted", "[runtime]") {
  CHECK(keel::runtime::count_elements(two_tensors()) == 8);
}

TEST_CASE("parameters: freezing drops the gradients that are there", "[runtime]") {
  const Parameters list = two_tensors();
  keel::runtime::set_trainable(list, true);
  (list[0].tensor.sum() + list[1].tensor.sum()).backward();
  keel::runtime::clear_gradients({list[0]});
  CHECK_FALSE(list[0].tensor.grad().defined());
  CHECK(list[1].tensor.grad().defined());
  keel::runtime::set_trainable(list, false);
  CHECK_FALSE(list[1].tensor.grad().defined());
  CHECK_FALSE(list[1].tensor.requires_grad());
}
