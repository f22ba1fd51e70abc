#include "runtime/gradient_sums.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>

#include <utility>

namespace keel::runtime {
namespace {

thread_local GradientSums* open = nullptr;

}  // namespace

GradientSums::GradientSums(const std::vector<at::Tensor>& weights) : sums_(weights.size()) {
  for (size_t i = 0; i < weights.size(); ++i)
    if (weights[i].is_cpu() && weights[i].is_contiguous() && weights[i].scalar_type() == at::kFloat)
      places_.emplace(weights[i].const_data_ptr(), Place{i, weights[i].numel()});
}

void GradientSums::add(const std::vector<at::Tensor>& gradients) {
  for (size_t i = 0; i < sums_.size(); ++i) {
    if (!gradients[i].defined()) continue;
    Sum& sum = sums_[i];
    if (!sum.tensor.defined())
      sum = {.tensor = gradients[i], .own = false};  // two gradients may share storage
    else if (sum.own)
      sum.tensor.add_(gradients[i]);
    else
      sum = {.tensor = (sum.tensor + gradients[i]).contiguous(), .own = true};
  }
}

at::Tensor GradientSums::take(size_t weight) {
  return std::exchange(sums_[weight], {}).tensor;
}

GradientSums::Open::Open(GradientSums& sums) : before_(std::exchange(open, &sums)) {}

GradientSums::Open::~Open() {
  open = before_;
}

GradientPlace GradientPlace::of(const at::Tensor& weight) {
  if (open == nullptr) return {};
  const auto found = open->places_.find(weight.const_data_ptr());
  if (found == open->places_.end() || found->second.numbers != weight.numel()) return {};
  GradientSums::Sum& sum = open->sums_[found->second.index];
  const bool add = sum.tensor.defined();
  if (!add)
    sum = {.tensor = at::empty_like(weight), .own = true};
  else if (!sum.own)
    sum = {.tensor = sum.tensor.clone(at::MemoryFormat::Contiguous), .own = true};
  return {.to = sum.tensor.mutable_data_ptr<float>(), .add = add};
}

}  // namespace keel::runtime
