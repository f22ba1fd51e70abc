// Finite differences against autograd, in float64.
#pragma once

#include <functional>

#include "support/test.h"

namespace keel::test {

// The largest difference between the gradient of `loss` (a 0-dim function of one fp64 tensor) by autograd and by central differences.
inline double gradient_error(const std::function<at::Tensor(const at::Tensor&)>& loss, const at::Tensor& at_point) {
  const at::Tensor x = at_point.detach().clone().requires_grad_(true);
  loss(x).backward();
  const at::Tensor numeric = at::zeros_like(at_point);
  constexpr double kStep = 1e-6;
  for (int64_t i = 0; i < at_point.numel(); ++i) {
    const at::Tensor shift = at::zeros_like(at_point);
    shift.view(-1)[i] = kStep;
    numeric.view(-1)[i] = (loss(at_point + shift) - loss(at_point - shift)) / (2 * kStep);
  }
  return largest_difference(x.grad(), numeric);
}

}  // namespace keel::test
