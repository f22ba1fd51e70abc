// Named tensors: a model as the optimiser, checkpoints and weight files see it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace keel::runtime {

struct NamedTensor {
  std::string name;   // as in the Hugging Face layout: "model.layers.0.mlp.up_proj.weight"
  at::Tensor tensor;  // shares storage with the model
};

using Parameters = std::vector<NamedTensor>;

std::vector<at::Tensor> tensors_of(const Parameters& parameters);
std::map<std::string, at::Tensor> by_name(const Parameters& parameters);
int64_t count_elements(const Parameters& parameters);

// Gradients on or off; off also drops existing gradients.
void set_trainable(const Parameters& parameters, bool trainable);
void clear_gradients(const Parameters& parameters);

// Copies the tensors of a checkpoint into `into` by name; c10::Error names a missing or differently shaped one, and nothing is changed.
void restore(const std::map<std::string, at::Tensor>& tensors, const Parameters& into);

// SHA-256 over names, shapes and values: equal exactly when all weights are equal bit for bit.
std::string digest(const Parameters& parameters);

}  // namespace keel::runtime
