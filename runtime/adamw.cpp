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
#include <iterator>
#include <optional>
#include <utility>

#include "core/error.h"

namespace keel::runtime {
namespace {

// Memory ranges of tensors; each byte belongs to one tensor.
class Claims {
 public:
  // The name of the tensor that already has one of these bytes; if none has, they now belong to `name`.
  std::optional<std::string> claim(const at::Tensor& tensor, const std::string& name) {
    if (tensor.numel() == 0) return std::nullopt;
    int64_t span = 1;  // elements from the first to the last
    for (int64_t d = 0; d < tensor.dim(); ++d)
      span += (tensor.size(d) - 1) * tensor.stride(d);
    const auto* begin = static_cast<const char*>(tensor.const_data_ptr());
    const char* end = begin + span * static_cast<int64_t>(tensor.element_size());
    const auto next = taken_.lower_bound(begin);
    if (next != taken_.end() && next->first < end) return next->second.name;
    if (next != taken_.begin() && std::prev(next)->second.end > begin) return std::prev(next)->second.name;
    taken_.emplace(begin, Taken{end, name});
    return std::nullopt;
  }

 private:
  struct Taken {
    const char* end;
    std::string name;
  };
  std::map<const char*, Taken> taken_;
};

// The gradients of all parameters, safe to change in place. A gradient that two parameters, or several elements of one (an expanded sum),
// share is copied; otherwise clipping would scale it twice.
std::vector<at::Tensor> separate_gradients(const Parameters& parameters) {
  Claims claims;
  std::vector<at::Tensor> gradients;
  for (const auto& [name, tensor] : parameters) {
    at::Tensor gradient = tensor.grad().defined() ? tensor.grad() : at::zeros_like(tensor);
    if (!gradient.is_non_overlapping_and_dense() || claims.claim(gradient, name)) gradient = gradient.clone(at::MemoryFormat::Contiguous);
    gradients.push_back(std::move(gradient));
  }
  return gradients;
}

}  // namespace

AdamW::AdamW(Parameters parameters, AdamWConfig config) : parameters_(std::move(parameters)), config_(config) {
  Claims claims;
  for (const auto& [name, tensor] : parameters_)
    if (const auto other = claims.claim(tensor, name))
      TORCH_CHECK(false, "[runtime.adamw] ", name, " and ", *other, " share memory; list a tied weight once");
  for (const auto& [name, tensor] : parameters_) {
    TORCH_CHECK(tensor.scalar_type() == at::kFloat, "[runtime.adamw] ", name, " is ", tensor.scalar_type(),
                "; weights that learn must be fp32, or small updates are lost");
    m_.push_back(at::zeros_like(tensor));
    v_.push_back(at::zeros_like(tensor));
    step_tensors_.push_back(at::full({}, 0.0, tensor.options().requires_grad(false)));  // a device's kernel reads it there
  }
}

double AdamW::step(double learning_rate) {
  const at::NoGradGuard no_grad;
  const std::vector<at::Tensor> gradients = separate_gradients(parameters_);
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
