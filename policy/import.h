// Imports checkpoints of other programs.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "core/gguf.h"
#include "policy/llama.h"

namespace keel::policy {

// llama2.c's version-0 .bin: seven int32 (dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len; a negative vocab_size means
// an untied head), then fp32 weights with interleaved RoPE. DataError when sizes and file length do not agree.
Llama import_llama2c(const std::filesystem::path& file);
LlamaConfig llama2c_config(const std::filesystem::path& file);  // its shape alone, sizes checked

// A GGUF of architecture "llama", any of the block formats that core/gguf.h reads; q and k rows are put into the rotate-half order.
Llama import_gguf(const std::filesystem::path& file);
LlamaConfig gguf_config(const core::GgufFile& file);  // its shape alone

// Meta's own folder: params.json and the files consolidated.NN.pth of torch.save, one for each process that ran the model, merged. Weights
// keep bf16 and fp16; q and k rows are put into the rotate-half order. DataError for files that do not fit each other or params.json.
Llama import_meta(const std::filesystem::path& folder);

std::vector<std::filesystem::path> meta_weights(const std::filesystem::path& folder);  // consolidated.*.pth, in order
bool is_meta_folder(const std::filesystem::path& folder);                              // has these, and params.json

// The shape that params.json describes; `vocabulary` is that of the embedding, for -1 there. The context, of which params.json says
// nothing, is "max_seq_len" if somebody added it, else that of the published model which has this rope_theta. DataError for unknown keys.
LlamaConfig read_meta_params(const nlohmann::json& params, int64_t vocabulary, const std::string& path);

}  // namespace keel::policy
