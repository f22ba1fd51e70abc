// A Llama of 2 layers whose weights come from a formula, so that an independent program can build the same one (tools/oracle/).
#pragma once

#include <cmath>

#include <ATen/Parallel.h>

#include "policy/llama.h"
#include "runtime/parameters.h"
#include "support/test.h"

namespace keel::test {

inline policy::LlamaConfig tiny_config() {
  return {.vocab_size = 11,
          .hidden_size = 8,
          .intermediate_size = 12,
          .num_hidden_layers = 2,
          .num_attention_heads = 2,
          .num_key_value_heads = 1,
          .max_position_embeddings = 32};
}

// Element i of the k-th tensor: 0.3 sin(1.3 i + k); norms are 1 more.
inline void fill_by_formula(const runtime::Parameters& parameters) {
  for (size_t k = 0; k < parameters.size(); ++k) {
    const at::Tensor& tensor = parameters[k].tensor;
    const at::Tensor i = at::arange(tensor.numel(), at::kDouble);
    const at::Tensor values = 0.3 * (1.3 * i + static_cast<double>(k)).sin() + (tensor.dim() == 1 ? 1.0 : 0.0);
    tensor.detach().copy_(values.view(tensor.sizes()));
  }
}

inline policy::Llama tiny_llama() {
  at::set_num_threads(1);  // as in every numeric test; threads cost more than they gain at this size
  policy::Llama model = policy::empty_llama(tiny_config());
  fill_by_formula(policy::parameters(model));
  return model;
}

}  // namespace keel::test
