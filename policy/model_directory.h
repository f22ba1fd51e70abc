// Model folders in Hugging Face's layout: config.json and model.safetensors (or shards with an index). The folder `inference` handles the
// tokenizer files and keel.json beside them.
#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "policy/dtype.h"
#include "policy/llama.h"

namespace keel::policy {

// The safetensors files of a folder: the single one, or the shards that the index names. UsageError for a folder without them.
std::vector<std::filesystem::path> weight_files(const std::filesystem::path& folder);

// The shape in its config.json.
LlamaConfig read_config(const std::filesystem::path& folder);

// With tied embeddings either of embed_tokens and lm_head may be absent. Throws UsageError when the folder is not a model
// folder; DataError for missing, unknown or misshapen tensors (all listed at once). Buffers named rotary_emb.inv_freq are ignored.
Llama load_llama(const std::filesystem::path& folder, Precision precision = Precision::fp32);

// A model from named tensors of any floating dtype, strictly: DataError naming `origin` and every missing, unknown or misshapen tensor.
Llama assemble(const LlamaConfig& config, std::map<std::string, at::Tensor> tensors, const std::filesystem::path& origin,
               Precision precision = Precision::fp32);

// The backbone of a sequence classifier with its head: "score.weight" [1, D].
struct Classifier {
  Llama backbone;
  at::Tensor score;  // [1, D]
};
Classifier load_classifier(const std::filesystem::path& folder, Precision precision = Precision::fp32);

// Writes config.json (with `extra` merged into it: architectures, token ids) and model.safetensors, the weights in
// their common type, fp32 where they differ.
void save_weights(const std::filesystem::path& folder, const LlamaConfig& config, const runtime::Parameters& weights,
                  const nlohmann::json& extra);

// {"architectures": ["LlamaForCausalLM"]}, for the config.json of a language model.
nlohmann::json causal_model_json();

// q and k rows from interleaved pairs (2i, 2i+1), as Meta, llama2.c and GGUF store them, to the rotate-half order (i, i + h/2).
at::Tensor rotate_half_rows(const at::Tensor& interleaved, int64_t heads);

}  // namespace keel::policy
