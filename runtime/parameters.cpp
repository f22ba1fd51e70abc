#include "runtime/parameters.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/files.h"

namespace keel::runtime {

std::vector<at::Tensor> tensors_of(const Parameters& parameters) {
  std::vector<at::Tensor> tensors;
  tensors.reserve(parameters.size());
  for (const auto& parameter : parameters)
    tensors.push_back(parameter.tensor);
  return tensors;
}

int64_t count_elements(const Parameters& parameters) {
  int64_t count = 0;
  for (const auto& parameter : parameters)
    count += parameter.tensor.numel();
  return count;
}

void set_trainable(const Parameters& parameters, bool trainable) {
  for (const auto& parameter : parameters) {
    parameter.tensor.set_requires_grad(trainable);
    if (!trainable) parameter.tensor.mutable_grad() = at::Tensor();
  }
}

void clear_gradients(const Parameters& parameters) {
  for (const auto& parameter : parameters)
    parameter.tensor.mutable_grad() = at::Tensor();
}

std::map<std::string, at::Tensor> by_name(const Parameters& parameters) {
  std::map<std::string, at::Tensor> named;
  for (const auto& [name, tensor] : parameters)
    named.emplace(name, tensor);
  return named;
}

void restore(const std::map<std::string, at::Tensor>& tensors, const Parameters& into) {
  for (const auto& [name, tensor] : into) {
    const auto found = tensors.find(name);
    TORCH_CHECK(found != tensors.end(), "[runtime.restore] the checkpoint holds no ", name, "; it was made by another configuration");
    TORCH_CHECK(found->second.sizes() == tensor.sizes(), "[runtime.restore] ", name, " must be ", tensor.sizes(), ", got ",
                found->second.sizes());
  }
  const at::NoGradGuard no_grad;
  for (const auto& [name, tensor] : into)
    tensor.copy_(tensors.at(name));
}

std::string digest(const Parameters& parameters) {
  std::string of_tensors;
  for (const auto& [name, tensor] : parameters) {
    const at::Tensor plain = tensor.detach().cpu().contiguous();
    const std::string_view bytes(static_cast<const char*>(plain.const_data_ptr()), plain.nbytes());
    of_tensors += fmt::format("{} {} {}\n", name, fmt::join(plain.sizes(), "x"), core::sha256(bytes));
  }
  return core::sha256(of_tensors);
}

}  // namespace keel::runtime
