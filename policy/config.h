// The shape of a Llama, in the names of Hugging Face's config.json.
#pragma once

#include <array>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "core/config.h"

namespace keel::policy {

// How the frequencies of the rotary embedding are lowered, so that a context may be longer than that of pretraining.
enum class RopeKind { none, linear, llama3 };
constexpr auto names(RopeKind) {
  return std::to_array<core::Named<RopeKind>>({{RopeKind::none, "default"}, {RopeKind::linear, "linear"}, {RopeKind::llama3, "llama3"}});
}

// Defaults are Llama 3.1's. Linear scaling has `factor` alone.
struct RopeScaling {
  RopeKind kind = RopeKind::none;
  double factor = 8;                                // what low frequencies (linear: all) are divided by
  double low_freq_factor = 1;                       // wavelengths above original / this are divided whole,
  double high_freq_factor = 4;                      // those below original / this not at all, those between in part
  int64_t original_max_position_embeddings = 8192;  // context of pretraining, in tokens

  bool operator==(const RopeScaling&) const = default;
};

struct LlamaConfig {
  int64_t vocab_size = 32000;
  int64_t hidden_size = 4096;
  int64_t intermediate_size = 11008;
  int64_t num_hidden_layers = 32;
  int64_t num_attention_heads = 32;
  int64_t num_key_value_heads = 32;  // fewer than the heads: grouped-query attention
  int64_t head_dim = 0;              // 0 = hidden_size / num_attention_heads
  int64_t max_position_embeddings = 4096;
  double rms_norm_eps = 1e-5;
  double rope_theta = 10000;
  bool tie_word_embeddings = false;
  RopeScaling rope_scaling = {};  // of an imported model; no setting, for a fresh one has none

  int64_t head_size() const { return head_dim > 0 ? head_dim : hidden_size / num_attention_heads; }
};

inline void visit(LlamaConfig& config, core::Fields& fields) {
  fields("vocab_size", config.vocab_size, "token ids; a recipe that trains a tokenizer sets it", core::at_least(1));
  fields("hidden_size", config.hidden_size, "width of the residual stream", core::at_least(1));
  fields("intermediate_size", config.intermediate_size, "width of the SwiGLU feed-forward layer", core::at_least(1));
  fields("num_hidden_layers", config.num_hidden_layers, "transformer blocks", core::at_least(1));
  fields("num_attention_heads", config.num_attention_heads, "query heads", core::at_least(1));
  fields("num_key_value_heads", config.num_key_value_heads, "key and value heads (a divisor of the query heads)", core::at_least(1));
  fields("head_dim", config.head_dim, "width of a head; 0 = hidden_size / num_attention_heads", core::at_least(0));
  fields("max_position_embeddings", config.max_position_embeddings, "longest context in tokens", core::at_least(1));
  fields("rms_norm_eps", config.rms_norm_eps, "epsilon of RMSNorm", core::above(0));
  fields("rope_theta", config.rope_theta, "base of the rotary embedding", core::above(0));
  fields("tie_word_embeddings", config.tie_word_embeddings, "the output head is the embedding matrix");
}

// Every violated rule between the fields, e.g. heads that do not divide the width.
std::vector<std::string> problems_of(const LlamaConfig& config);

// config.json of a Llama. DataError for another architecture, for features that keel does not implement (other rope scaling than linear and
// llama3, biases, another activation) and for missing or contradictory fields.
LlamaConfig read_llama_config(const nlohmann::json& json, const std::string& path);
nlohmann::json to_hugging_face(const LlamaConfig& config);  // without "architectures" and token ids

}  // namespace keel::policy
