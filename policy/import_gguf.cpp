// Reads llama-family GGUF files: metadata keys "llama.*", tensors "blk.N.*".
#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>

#include "core/error.h"
#include "core/gguf.h"
#include "policy/import.h"
#include "policy/layers.h"
#include "policy/model_directory.h"

namespace keel::policy {
namespace {

const std::map<std::string, std::string, std::less<>> kTopNames = {
    {"token_embd.weight", "model.embed_tokens.weight"}, {"output_norm.weight", "model.norm.weight"}, {"output.weight", "lm_head.weight"}};

const std::map<std::string, std::string, std::less<>> kLayerNames = {
    {"attn_norm", "input_layernorm"}, {"attn_q", "self_attn.q_proj"},      {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},   {"attn_output", "self_attn.o_proj"}, {"ffn_norm", "post_attention_layernorm"},
    {"ffn_gate", "mlp.gate_proj"},    {"ffn_up", "mlp.up_proj"},           {"ffn_down", "mlp.down_proj"}};

// "blk.3.ffn_up.weight" -> "model.layers.3.mlp.up_proj.weight"; other names stay as they are and are reported as unknown.
std::string hugging_face_name(const std::string& name) {
  if (const auto top = kTopNames.find(name); top != kTopNames.end()) return top->second;
  const size_t number = name.find('.'), kind = name.find('.', number + 1), end = name.rfind('.');
  if (!name.starts_with("blk.") || kind == std::string::npos || end <= kind) return name;
  const auto found = kLayerNames.find(name.substr(kind + 1, end - kind - 1));
  if (found == kLayerNames.end() || name.substr(end) != ".weight") return name;
  return fmt::format("model.layers.{}.{}.weight", name.substr(number + 1, kind - number - 1), found->second);
}

std::string shown(const core::GgufValue& value) {
  return std::visit(
      [](const auto& held) -> std::string {
        if constexpr (requires { held.size(); } && !std::is_same_v<std::decay_t<decltype(held)>, std::string>)
          return "[...]";
        else
          return fmt::format("{}", held);
      },
      value);
}

// "llama.*" keys that are read below or do not affect the arithmetic.
constexpr const char* kKnownKeys[] = {"vocab_size",
                                      "context_length",
                                      "embedding_length",
                                      "block_count",
                                      "feed_forward_length",
                                      "attention.head_count",
                                      "attention.head_count_kv",
                                      "attention.key_length",
                                      "attention.value_length",
                                      "attention.layer_norm_rms_epsilon",
                                      "rope.dimension_count",
                                      "rope.freq_base",
                                      "rope.scaling.type",
                                      "rope.scaling.factor",
                                      "rope.scale_linear",
                                      "rope.scaling.original_context_length",
                                      "rope.scaling.finetuned",
                                      "tensor_data_layout"};

// Keys that change a Llama's arithmetic, except at the value given here.
constexpr std::pair<const char*, double> kNeutralValues[] = {{"expert_count", 0},
                                                             {"expert_used_count", 0},
                                                             {"expert_shared_count", 0},
                                                             {"leading_dense_block_count", 0},
                                                             {"use_parallel_residual", 0},
                                                             {"attention.max_alibi_bias", 0},
                                                             {"attention.clamp_kqv", 0},
                                                             {"attention.causal", 1},
                                                             {"attention.sliding_window", 0},
                                                             {"attention.scale", 0},
                                                             {"attention.layer_norm_epsilon", 0},
                                                             {"attn_logit_softcapping", 0},
                                                             {"final_logit_softcapping", 0},
                                                             {"logit_scale", 1},
                                                             {"embedding_scale", 1},
                                                             {"residual_scale", 1},
                                                             {"pooling_type", 0}};

// Factors of the kinds of rope scaling that keel does not compute. 0 and 1 mean no scaling.
constexpr const char* kRopeFactors[] = {"rope.scaling.attn_factor", "rope.scaling.yarn_log_multiplier"};

// What llama.cpp makes of the metadata: without a type a factor scales linearly, and 0 and 1 mean no scaling.
RopeScaling read_rope_scaling(const core::GgufFile& file) {
  const std::string type = file.text("llama.rope.scaling.type", "linear");
  if (type == "none") return {};
  if (type != "linear")
    throw core::DataError(file.path(), 0,
                          fmt::format("rope scaling \"{}\" is not supported; keel computes linear and Llama 3's, so take a model that has "
                                      "one of these",
                                      type));
  const double factor = file.number("llama.rope.scaling.factor", file.number("llama.rope.scale_linear", 0));  // the older name
  if (factor == 0 || factor == 1) return {};
  return {.kind = RopeKind::linear, .factor = factor};
}

// The scaling behind rope_freqs.weight, numbers that divide the frequencies. llama.cpp's converter writes Llama 3's scaling in this form
// and keeps nothing else of it; config.json needs its constants, so the factor is read off the lowest frequency and the whole compared.
RopeScaling scaling_of_divisors(const at::Tensor& divisors, const LlamaConfig& config, const std::string& path) {
  if (divisors.eq(1).all().item<bool>()) return config.rope_scaling;
  LlamaConfig plain = config, scaled = config;
  plain.rope_scaling = {};
  scaled.rope_scaling = {.kind = RopeKind::llama3, .factor = divisors.flatten()[-1].item<double>()};
  const at::Tensor expected = rotary_frequencies(plain) / rotary_frequencies(scaled);
  if (config.rope_scaling.kind != RopeKind::none || divisors.sizes() != expected.sizes() || !divisors.allclose(expected, 1e-5))
    throw core::DataError(path, 0,
                          "rope_freqs.weight scales the rotary embedding in another way than Llama 3's (low_freq_factor 1, "
                          "high_freq_factor 4, 8192 tokens), which is not supported; take the model as safetensors");
  return scaled.rope_scaling;
}

// Refuses keys, in every spelling, that change the arithmetic in ways that keel does not implement, and every unknown key.
void refuse_other_arithmetic(const core::GgufFile& file) {
  const bool unscaled = file.text("llama.rope.scaling.type", "") == "none";
  const auto number = [](const core::GgufValue& value) -> std::optional<double> {
    if (const auto* integer = std::get_if<int64_t>(&value)) return static_cast<double>(*integer);
    if (const auto* flag = std::get_if<bool>(&value)) return *flag ? 1 : 0;
    if (const auto* real = std::get_if<double>(&value)) return *real;
    return std::nullopt;
  };
  for (const auto& [key, value] : file.metadata()) {
    if (!key.starts_with("llama.")) continue;
    const std::string name = key.substr(6);
    if (std::find(std::begin(kKnownKeys), std::end(kKnownKeys), name) != std::end(kKnownKeys)) continue;
    const auto given = number(value);
    if (std::find(std::begin(kRopeFactors), std::end(kRopeFactors), name) != std::end(kRopeFactors)) {
      if (unscaled || given == 0 || given == 1) continue;
      throw core::DataError(file.path(), 0,
                            fmt::format("{} = {} is rope scaling, of which keel computes linear and Llama 3's alone", key, shown(value)));
    }
    const auto neutral =
        std::find_if(std::begin(kNeutralValues), std::end(kNeutralValues), [&](const auto& one) { return name == one.first; });
    if (neutral == std::end(kNeutralValues))
      throw core::DataError(
          file.path(), 0,
          fmt::format("metadata key {} = {} is not known to keel and may change what the model computes; it reads plain Llamas", key,
                      shown(value)));
    if (given != neutral->second)
      throw core::DataError(file.path(), 0,
                            fmt::format("{} = {} is not supported: a plain Llama has {}", key, shown(value), neutral->second));
  }
}

LlamaConfig read_metadata(const core::GgufFile& file) {
  if (const std::string type = file.text("general.type", "model"); type != "model")
    throw core::DataError(file.path(), 0,
                          fmt::format("is a GGUF file of type \"{}\", not a model; name the model that it belongs to", type));
  const std::string architecture = file.text("general.architecture");
  if (architecture != "llama")
    throw core::DataError(file.path(), 0, fmt::format("general.architecture must be \"llama\", got \"{}\"", architecture));
  refuse_other_arithmetic(file);
  LlamaConfig config;
  config.hidden_size = file.integer("llama.embedding_length");
  config.intermediate_size = file.integer("llama.feed_forward_length");
  config.num_hidden_layers = file.integer("llama.block_count");
  config.num_attention_heads = file.integer("llama.attention.head_count");
  config.num_key_value_heads = file.integer("llama.attention.head_count_kv", config.num_attention_heads);
  config.head_dim = file.integer("llama.attention.key_length", 0);
  config.max_position_embeddings = file.integer("llama.context_length");
  config.rms_norm_eps = file.number("llama.attention.layer_norm_rms_epsilon");
  config.rope_theta = file.number("llama.rope.freq_base", 10000.0);
  config.rope_scaling = read_rope_scaling(file);
  config.tie_word_embeddings = true;  // until an output matrix is found
  for (const auto& tensor : file.tensors()) {
    if (tensor.name == "token_embd.weight" && tensor.shape.size() == 2) config.vocab_size = tensor.shape[0];
    if (tensor.name == "output.weight") config.tie_word_embeddings = false;
  }
  // Single-precision metadata: 1e-5f reads back as 9.99999974e-06; keep the decimal the author wrote.
  config.rms_norm_eps = std::stod(fmt::format("{}", static_cast<float>(config.rms_norm_eps)));
  config.rope_theta = std::stod(fmt::format("{}", static_cast<float>(config.rope_theta)));
  if (const auto problems = problems_of(config); !problems.empty()) throw core::DataError(file.path(), 0, problems.front());
  if (const int64_t turned = file.integer("llama.rope.dimension_count", config.head_size()); turned != config.head_size())
    throw core::DataError(file.path(), 0,
                          fmt::format("llama.rope.dimension_count must be the width of a head, {}, got {}", config.head_size(), turned));
  if (const int64_t width = file.integer("llama.attention.value_length", config.head_size()); width != config.head_size())
    throw core::DataError(file.path(), 0,
                          fmt::format("llama.attention.value_length must be the width of a head, {}, got {}", config.head_size(), width));
  return config;
}

}  // namespace

LlamaConfig gguf_config(const core::GgufFile& file) {
  return read_metadata(file);
}

Llama import_gguf(const std::filesystem::path& path) {
  const core::GgufFile file(path);
  LlamaConfig config = read_metadata(file);
  std::map<std::string, at::Tensor> tensors;
  for (const auto& entry : file.tensors()) {
    const std::string name = hugging_face_name(entry.name);
    at::Tensor tensor = at::tensor(file.dequantised(entry)).view(entry.shape);
    if (name == "rope_freqs.weight") {
      config.rope_scaling = scaling_of_divisors(tensor, config, path);
      continue;
    }
    const bool query = name.ends_with("q_proj.weight");
    const int64_t heads = query ? config.num_attention_heads : config.num_key_value_heads;
    if ((query || name.ends_with("k_proj.weight")) && tensor.dim() == 2 && tensor.size(0) % (2 * heads) == 0)
      tensor = rotate_half_rows(tensor, heads);
    if (!tensors.emplace(name, std::move(tensor)).second) throw core::DataError(path, 0, fmt::format("holds tensor {} twice", entry.name));
  }
  return assemble(config, std::move(tensors), path);
}

}  // namespace keel::policy
