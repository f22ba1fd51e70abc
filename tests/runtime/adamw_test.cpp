#include "runtime/adamw.h"

#include <cmath>
#include <limits>

#include "core/error.h"
#include "support/test.h"

using keel::runtime::AdamW;
using keel::runtime::AdamWConfig;
using keel::runtime::Parameters;
using keel::test::tensor;

namespace {

// Two tensors of tools/oracle/sft_losses.py: 0.5 cos(i + k).
Parameters formula_parameters() {
  Parameters list;
  for (const int64_t k : {0, 1}) {
    const at::Tensor values = 0.5 * (at::arange(k == 0 ? 6 : 4, at::kDouble) + k).cos();
    list.push_back({k == 0 ? "a" : "b", values.to(at::kFloat)});
  }
  keel::runtime::set_trainable(list, true);
  return list;
}

void set_formula_gradients(const Parameters& list, int64_t step) {
  for (size_t k = 0; k < list.size(); ++k) {
    const at::Tensor i = at::arange(list[k].tensor.numel(), at::kDouble);
    const double scale = 0.2 + 0.3 * static_cast<double>(step % 3);
    list[k].tensor.mutable_grad() = (0.7 * i + static_cast<double>(k) + static_cast<double>(step)).sin().to(at::kFloat) * scale;
  }
}

std::map<std::string, at::Tensor> stored(const AdamW& optimizer) {
  std::map<std::string, at::Tensor> copies;
  for (const auto& [name, value] : optimizer.state())
    copies.emplace(name, value.clone());
  return copies;
}

}  // namespace

TEST_CASE("adamw: five steps equal torch.optim.AdamW after clip_grad_norm_", "[runtime]") {
  const Parameters list = formula_parameters();
  AdamW optimizer(list, {});
  const double norms[] = {.4250165, 1.1427753, 1.841357, .4256006, 1.1285729};  // tools/oracle/sft_losses.py
  for (int64_t step = 0; step < 5; ++step) {
    set_formula_gradients(list, step);
    CHECK(optimizer.step(.01 * static_cast<double>(step + 1)) == Catch::Approx(norms[step]).epsilon(1e-6));
  }
  CHECK(optimizer.steps() == 5);
  CHECK_CLOSE(list[0].tensor, tensor({.4117344, .1880346, -.2426779, -.4586213, -.2519718, .2262277}), 1e-6);
  CHECK_CLOSE(list[1].tensor, tensor({.2005406, -.2139152, -.4326552, -.2508036}), 1e-6);
}

TEST_CASE("adamw: the first moment holds the gradient clipped to norm 1, or whole with clip_norm 0", "[runtime]") {
  for (const double clip : {1., 0.}) {
    const at::Tensor weight = tensor({1, 1});
    AdamW optimizer({{"w", weight}}, {.clip_norm = clip});
    weight.mutable_grad() = tensor({3, 4});
    CHECK(optimizer.step(0) == 5);
    const double factor = clip == 0 ? .1 : .1 / 5;  // 1 - beta1, and 1 over the norm
    CHECK_CLOSE(optimizer.state()[0].tensor, tensor({3 * factor, 4 * factor}), 1e-6);
  }
}

TEST_CASE("adamw: a step takes the gradients away, and a parameter without one only decays", "[runtime]") {
  const at::Tensor with = tensor({2, 2}), without = tensor({2, -4});
  AdamW optimizer({{"with", with}, {"without", without}}, {});
  with.mutable_grad() = tensor({1, 1});
  optimizer.step(.5);
  CHECK_FALSE(with.grad().defined());
  CHECK_CLOSE(without, tensor({1.9, -3.8}), 1e-6);        // 1 - 0.5 x 0.1
  CHECK_CLOSE(with, tensor({1.9 - .5, 1.9 - .5}), 1e-4);  // the first step of Adam is the learning rate
}

TEST_CASE("adamw: a gradient that is not finite is refused before anything changes", "[runtime]") {
  const float bad =
      GENERATE(std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN());
  const Parameters list = formula_parameters();
  AdamW optimizer(list, {});
  set_formula_gradients(list, 0);
  optimizer.step(.1);
  const std::string before = keel::runtime::digest(list), moments = keel::runtime::digest(optimizer.state());
  set_formula_gradients(list, 1);
  list[1].tensor.mutable_grad()[2] = bad;
  CHECK_THROWS_WITH(optimizer.step(.1), Catch::Matchers::ContainsSubstring("at optimiser step 2 (learning rate 0.1)"));
  CHECK_THROWS_AS(optimizer.step(.1), keel::core::UsageError);
  CHECK(keel::runtime::digest(list) == before);
  CHECK(keel::runtime::digest(optimizer.state()) == moments);
  CHECK(optimizer.steps() == 1);
}

TEST_CASE("adamw: state saved after three steps and loaded elsewhere goes on bit for bit", "[runtime]") {
  const Parameters list = formula_parameters(), again = formula_parameters();
  AdamW optimizer(list, {}), resumed(again, {});
  for (int64_t step = 0; step < 3; ++step) {
    set_formula_gradients(list, step);
    optimizer.step(.05);
  }
  for (size_t i = 0; i < list.size(); ++i)
    again[i].tensor.detach().copy_(list[i].tensor.detach());
  resumed.load_state(stored(optimizer), optimizer.steps());
  for (int64_t step = 3; step < 5; ++step) {
    for (const auto& parameters : {list, again})
      set_formula_gradients(parameters, step);
    optimizer.step(.05);
    resumed.step(.05);
  }
  CHECK(keel::runtime::digest(again) == keel::runtime::digest(list));
  CHECK(keel::runtime::digest(resumed.state()) == keel::runtime::digest(optimizer.state()));
  CHECK(resumed.steps() == 5);
}

TEST_CASE("adamw: gradients that share memory are clipped once each", "[runtime]") {
  const at::Tensor a = tensor({1, 1}), b = tensor({1, 1}), c = tensor({1, 1});
  AdamW optimizer({{"a", a}, {"b", b}, {"c", c}}, {.clip_norm = 1});
  const at::Tensor lent = tensor({2, 1});  // as autograd lends one gradient to both sides of a sum
  a.mutable_grad() = lent;
  b.mutable_grad() = lent;
  c.mutable_grad() = tensor({2}).squeeze(0).expand({2});  // and one number to all elements
  const double norm = std::sqrt(4 + 1 + 4 + 1 + 4 + 4);
  CHECK(optimizer.step(0) == Catch::Approx(norm));
  const auto state = optimizer.state();  // m = (1 - beta1) g
  for (const auto& [index, expected] : {std::pair{size_t{0}, tensor({2, 1})}, {size_t{2}, tensor({2, 1})}, {size_t{4}, tensor({2, 2})}})
    CHECK_CLOSE(state[index].tensor, expected * (.1 / norm), 1e-6);
}

TEST_CASE("adamw: a weight that is listed twice, whole or in part, is refused; parts of one storage are not", "[runtime]") {
  const at::Tensor all = at::zeros({6});
  using Catch::Matchers::ContainsSubstring;
  CHECK_THROWS_WITH(AdamW({{"embed", all}, {"other", at::zeros({6})}, {"head", all}}, {}),
                    ContainsSubstring("head and embed share memory"));
  CHECK_THROWS_WITH(AdamW({{"front", all.slice(0, 0, 4)}, {"back", all.slice(0, 3)}}, {}), ContainsSubstring("share memory"));
  CHECK_NOTHROW(AdamW({{"front", all.slice(0, 0, 3)}, {"back", all.slice(0, 3)}, {"none", all.slice(0, 0, 0)}}, {}));
}

TEST_CASE("adamw: weights in bf16, in which small updates are lost, are refused by name", "[runtime]") {
  CHECK_THROWS_WITH(AdamW({{"w", at::zeros({2}, at::kBFloat16)}}, {}), Catch::Matchers::ContainsSubstring("w is BFloat16"));
}

TEST_CASE("adamw: state of another model is refused by name", "[runtime]") {
  AdamW optimizer(formula_parameters(), {});
  auto state = stored(optimizer);
  state["optimizer.v.b"] = at::zeros({5});
  CHECK_THROWS_WITH(optimizer.load_state(state, 1), Catch::Matchers::ContainsSubstring("optimizer.v.b must be [4], got [5]"));
  state.erase("optimizer.v.b");
  CHECK_THROWS_WITH(optimizer.load_state(state, 1), Catch::Matchers::ContainsSubstring("no optimizer.v.b"));
}
