// A small Llama whose logits depend strongly on every earlier token, so that leaks between rows and wrong positions show.
#pragma once

#include <ATen/Parallel.h>

#include "core/rng.h"
#include "policy/llama.h"
#include "policy/logprobs.h"
#include "support/test.h"

namespace keel::test {

inline policy::LlamaConfig lively_config() {
  return {.vocab_size = 23,
          .hidden_size = 16,
          .intermediate_size = 24,
          .num_hidden_layers = 2,
          .num_attention_heads = 4,
          .num_key_value_heads = 2,
          .max_position_embeddings = 40};
}

inline policy::Llama lively_llama(const policy::LlamaConfig& config = lively_config()) {
  at::set_num_threads(1);  // threads cost more than they gain at this size
  policy::Llama model = policy::make_llama(config, 7);
  for (const auto& [name, tensor] : policy::parameters(model))
    if (tensor.dim() == 2) tensor.mul_(20);  // deviation 0.4
  return model;
}

// Row `index` of some data: `length` ids of the lively vocabulary.
inline core::Ids some_ids(size_t index, size_t length) {
  core::Stream stream(11, "test.ids", index);
  core::Ids ids(length);
  for (auto& id : ids)
    id = static_cast<int64_t>(stream.below(23));
  return ids;
}

inline std::vector<core::Ids> some_rows(std::initializer_list<size_t> lengths) {
  std::vector<core::Ids> rows;
  for (const size_t length : lengths)
    rows.push_back(some_ids(rows.size(), length));
  return rows;
}

inline at::Tensor floats(const std::vector<float>& values) {
  return at::tensor(values);
}

}  // namespace keel::test
