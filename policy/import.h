// Imports checkpoints of other programs.
#pragma once

#include <filesystem>

#include "policy/llama.h"

namespace keel::policy {

// llama2.c's version-0 .bin: seven int32 (dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len; a negative vocab_size means
// an untied head), then fp32 weights with interleaved RoPE. DataError when sizes and file length do not agree.
Llama import_llama2c(const std::filesystem::path& file);

// A GGUF of architecture "llama", any of the block formats that core/gguf.h reads; q and k rows are put into the rotate-half order.
Llama import_gguf(const std::filesystem::path& file);

}  // namespace keel::policy
