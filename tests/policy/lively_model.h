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

// Rows of the rotate-half order as Meta orders them: rows i and i + h/2 of a head become its rows 2i and 2i + 1.
inline at::Tensor interleaved(const at::Tensor& rows, int64_t heads) {
  at::Tensor result = at::zeros_like(rows);
  const int64_t width = rows.size(0) / heads;
  for (int64_t head = 0; head < heads; ++head) {
    for (int64_t i = 0; i < width; ++i)
      result[head * width + (i < width / 2 ? 2 * i : 2 * (i - width / 2) + 1)] = rows[head * width + i];
  }
  return result;
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
