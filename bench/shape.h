// The default model of the benchmarks: 15 M parameters.
#pragma once

#include "policy/config.h"

namespace keel::bench {

inline policy::LlamaConfig fifteen_million() {
  return {.vocab_size = 32000,
          .hidden_size = 288,
          .intermediate_size = 768,
          .num_hidden_layers = 6,
          .num_attention_heads = 6,
          .num_key_value_heads = 6,
          .max_position_embeddings = 2048};
}

}  // namespace keel::bench
