#include "runtime/adamw.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros_like.h>
#include <fmt/format.h>

#include <cmath>

#include "core/error.h"

namespace keel::runtime {

AdamW::AdamW(Parameters parameters, AdamWConfig config) : parameters_(std::move(parameters)), config_(config) {
  for (const auto& [name, tensor] : parameters_) {
    m_.push_back(at::zeros_like(tensor));
    v_.push_back(at::zeros_like(tensor));
    step_tensors_.push_back(at::full({}, 0.0, at::kFloat));
  }
}

double AdamW::step(double learning_rate) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> gradients;
  for (const auto& [name, tensor] : parameters_)
    gradients.push_back(tensor.grad().defined() ? tensor.grad() : at::zeros_like(tensor));
  const double norm = at::linalg_vector_norm(at::stack(at::_foreach_norm(gradients))).item<double>();
  if (!std::isfinite(norm))
    throw core::UsageError(fmt::format(
        "the gradient norm is {} at optimiser step {} (learning rate {}): training diverged; lower the learning rate, warm it up "
        "over more steps, or look for the first odd value in metrics.jsonl",
        norm, steps_ + 1, learning_rate));
  // torch.nn.utils.clip_grad_norm_ divides by norm + 1e-6 and clamps the factor to 1.
  if (config_.clip_norm > 0 && norm > 0) at::_foreach_mul_(gradients, std::fmin(1.0, config_.clip_norm / (norm + 1e-6)));
  ++steps_;
  for (auto& tensor : step_tensors_)
    tensor.fill_(static_cast<double>(steps_));
  at::_fused_adamw_(tensors_of(parameters_), gradients, m_, v_, {}, step_tensors_, learning_rate, config_.beta1, config_.beta2,
                    config_.weight_decay, config_.epsilon, /*amsgrad=*/false, /*maximize=*/false);
  clear_gradients(parameters_);
  return norm;
}

Parameters AdamW::state() const {
  Parameters state;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    state.push_back({"optimizer.m." + parameters_[i].name, m_[i]});
    state.push_back({"optimizer.v." + parameters_[i].name, v_[i]});
  }
  return state;
}

void AdamW::load_state(const std::map<std::string, at::Tensor>& tensors, int64_t steps) {
  restore(tensors, state());
  steps_ = steps;
}

}  // namespace keel::runtime
