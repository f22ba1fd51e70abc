#include "runtime/parameters.h"

#include <set>

#include "support/test.h"

using Catch::Matchers::ContainsSubstring;
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

TEST_CASE("parameters: elements are counted, and values copied only between equals", "[runtime]") {
  const Parameters from = two_tensors(), to = {{"a", at::zeros({2, 3})}, {"b", at::zeros({2})}};
  CHECK(keel::runtime::count_elements(from) == 8);
  keel::runtime::copy_values(from, to);
  CHECK(digest(from) == digest(to));
  CHECK(from[0].tensor.data_ptr() != to[0].tensor.data_ptr());
  CHECK_THROWS_WITH(keel::runtime::copy_values(from, {{"a", at::zeros({2, 3})}, {"c", at::zeros({2})}}), ContainsSubstring("b [2] into c"));
  CHECK_THROWS_WITH(keel::runtime::copy_values(from, {{"a", at::zeros({3, 2})}, {"b", at::zeros({2})}}),
                    ContainsSubstring("a [2, 3] into a"));
  CHECK_THROWS_AS(keel::runtime::copy_values(from, {{"a", at::zeros({2, 3})}}), c10::Error);
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
