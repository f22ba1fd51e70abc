#include "runtime/adamw.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros_like.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>
#include <numeric>
#include <optional>
#include <utility>

#include "core/error.h"
#include "runtime/dist/ranks.h"

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

// The rank of each parameter: large ones first, each to the rank that has least so far.
std::vector<int> dealt_out(const Parameters& parameters, int ranks) {
  std::vector<size_t> order(parameters.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, std::greater<>(), [&](size_t i) { return parameters[i].tensor.numel(); });
  std::vector<int> owners(parameters.size());
  std::vector<int64_t> numbers(static_cast<size_t>(ranks));
  for (const size_t i : order) {
    const auto least = std::ranges::min_element(numbers);
    *least += parameters[i].tensor.numel();
    owners[i] = static_cast<int>(least - numbers.begin());
  }
  return owners;
}

}  // namespace

AdamW::AdamW(Parameters parameters, AdamWConfig config)
    : parameters_(std::move(parameters)),
      config_(config),
      owners_(dealt_out(parameters_, dist::size())),
      m_(parameters_.size()),
      v_(parameters_.size()),
      step_tensors_(parameters_.size()) {
  Claims claims;
  for (const auto& [name, tensor] : parameters_)
    if (const auto other = claims.claim(tensor, name))
      TORCH_CHECK(false, "[runtime.adamw] ", name, " and ", *other, " share memory; list a tied weight once");
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const auto& [name, tensor] = parameters_[i];
    TORCH_CHECK(tensor.scalar_type() == at::kFloat, "[runtime.adamw] ", name, " is ", tensor.scalar_type(),
                "; weights that learn must be fp32, or small updates are lost");
    if (owners_[i] != dist::rank()) continue;
    m_[i] = at::zeros_like(tensor);
    v_[i] = at::zeros_like(tensor);
    step_tensors_[i] = at::full({}, 0.0, tensor.options().requires_grad(false));  // a device's kernel reads it there
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
  std::vector<at::Tensor> weights, own_gradients, m, v, steps;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    if (owners_[i] != dist::rank()) continue;
    weights.push_back(parameters_[i].tensor);
    own_gradients.push_back(gradients[i]);
    m.push_back(m_[i]);
    v.push_back(v_[i]);
    steps.push_back(step_tensors_[i]);
  }
  ++steps_;
  if (!weights.empty()) {
    // torch.nn.utils.clip_grad_norm_ divides by norm + 1e-6 and clamps the factor to 1.
    if (config_.clip_norm > 0 && norm > 0) at::_foreach_mul_(own_gradients, std::fmin(1.0, config_.clip_norm / (norm + 1e-6)));
    for (auto& tensor : steps)
      tensor.fill_(static_cast<double>(steps_));
    at::_fused_adamw_(weights, own_gradients, m, v, {}, steps, learning_rate, config_.beta1, config_.beta2, config_.weight_decay,
                      config_.epsilon, /*amsgrad=*/false, /*maximize=*/false);
  }
  clear_gradients(parameters_);
  dist::broadcast(tensors_of(parameters_), owners_);
  return norm;
}

Parameters AdamW::state() const {
  Parameters state;
  std::vector<int> owners;
  for (size_t i = 0; i < parameters_.size(); ++i)
    for (const auto& [prefix, moments] : {std::pair("optimizer.m.", &m_), std::pair("optimizer.v.", &v_)}) {
      at::Tensor moment = (*moments)[i];
      if (!moment.defined() && dist::first()) moment = at::empty(parameters_[i].tensor.sizes(), at::kFloat);
      state.push_back({prefix + parameters_[i].name, std::move(moment)});
      owners.push_back(owners_[i]);
    }
  dist::bring_to_first(tensors_of(state), owners);
  return state;
}

void AdamW::load_state(const std::map<std::string, at::Tensor>& tensors, int64_t steps) {
  Parameters own;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    if (!m_[i].defined()) continue;
    own.push_back({"optimizer.m." + parameters_[i].name, m_[i]});
    own.push_back({"optimizer.v." + parameters_[i].name, v_[i]});
  }
  restore(tensors, own);
  steps_ = steps;
}

}  // namespace keel::runtime
