#include "policy/config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/log.h"

namespace keel::policy {
namespace {

template <class T>
T required(const nlohmann::json& json, const char* key, const std::string& path) {
  const auto found = json.find(key);
  if (found == json.end() || found->is_null())
    throw core::DataError(path, 0, fmt::format("\"{}\" is missing; a Llama's config.json has it", key));
  const bool fits = std::is_same_v<T, int64_t> ? found->is_number_integer() : found->is_number();
  const char* kind = std::is_same_v<T, int64_t> ? "an integer" : "a number";
  if (!fits) throw core::DataError(path, 0, fmt::format("\"{}\" must be {}, got {}", key, kind, found->dump()));
  return found->get<T>();
}

template <class T>
T optional(const nlohmann::json& json, const char* key, T missing, const std::string& path) {
  const auto found = json.find(key);
  if (found == json.end() || found->is_null()) return missing;
  if constexpr (std::is_same_v<T, bool>) {
    if (!found->is_boolean()) throw core::DataError(path, 0, fmt::format("\"{}\" must be true or false, got {}", key, found->dump()));
    return found->get<bool>();
  } else {
    return required<T>(json, key, path);
  }
}

// Keys of config.json that keel reads.
constexpr const char* kReadKeys[] = {"vocab_size",
                                     "hidden_size",
                                     "intermediate_size",
                                     "num_hidden_layers",
                                     "num_attention_heads",
                                     "num_key_value_heads",
                                     "head_dim",
                                     "max_position_embeddings",
                                     "rms_norm_eps",
                                     "rope_theta",
                                     "rope_parameters",
                                     "rope_scaling",
                                     "original_max_position_embeddings",
                                     "tie_word_embeddings",
                                     "model_type",
                                     "hidden_act",
                                     "attention_bias",
                                     "mlp_bias"};

// Keys without effect on the model's output here: names, dates, training, ids (read from the tokenizer's files and by
// data/generation_config.h), ways to compute.
constexpr const char* kHarmlessKeys[] = {"architectures",
                                         "_name_or_path",
                                         "name_or_path",
                                         "transformers_version",
                                         "torch_dtype",
                                         "dtype",
                                         "use_cache",
                                         "pretraining_tp",
                                         "initializer_range",
                                         "initializer_factor",
                                         "attention_dropout",
                                         "hidden_dropout",
                                         "resid_pdrop",
                                         "embd_pdrop",
                                         "attn_pdrop",
                                         "hidden_dropout_prob",
                                         "attention_probs_dropout_prob",
                                         "classifier_dropout",
                                         "output_attentions",
                                         "output_hidden_states",
                                         "return_dict",
                                         "_attn_implementation",
                                         "_attn_implementation_autoset",
                                         "attn_implementation",
                                         "_flash_attn_2_enabled",
                                         "use_flash_attention_2",
                                         "gradient_checkpointing",
                                         "is_llama_config",
                                         "id2label",
                                         "label2id",
                                         "num_labels",
                                         "problem_type",
                                         "finetuning_task",
                                         "task_specific_params",
                                         "tokenizer_class",
                                         "max_sequence_length",
                                         "max_length",
                                         "model_max_length",
                                         "eos_token",
                                         "bos_token",
                                         "pad_token",
                                         "is_decoder",
                                         "torchscript",
                                         "use_bfloat16",
                                         "chunk_size_feed_forward",
                                         "unsloth_version",
                                         "unsloth_fixed",
                                         "transformers.js_config",
                                         "keel"};

// Keys of Llama's relatives that change the arithmetic, except at the value given here.
const std::map<std::string, nlohmann::json, std::less<>>& neutral_values() {
  static const std::map<std::string, nlohmann::json, std::less<>> kNeutral = {{"attention_multiplier", 1},
                                                                              {"embedding_multiplier", 1},
                                                                              {"residual_multiplier", 1},
                                                                              {"logits_scaling", 1},
                                                                              {"logit_scale", 1},
                                                                              {"partial_rotary_factor", 1},
                                                                              {"rotary_pct", 1},
                                                                              {"use_sliding_window", false},
                                                                              {"use_qk_norm", false},
                                                                              {"qk_norm", false},
                                                                              {"qkv_bias", false},
                                                                              {"use_mrope", false},
                                                                              {"add_cross_attention", false},
                                                                              {"is_encoder_decoder", false},
                                                                              {"rope_interleaved", false},
                                                                              {"alibi", false},
                                                                              {"num_local_experts", 0},
                                                                              {"num_experts", 0},
                                                                              {"sliding_window", 0},
                                                                              {"attention_chunk_size", 0},
                                                                              {"attn_logit_softcapping", 0},
                                                                              {"final_logit_softcapping", 0},
                                                                              {"query_pre_attn_scalar", 0},
                                                                              {"no_rope_layer_interval", 0},
                                                                              {"no_rope_layers", nlohmann::json::array()},
                                                                              {"rope_ratio", 1},
                                                                              {"scale_emb", 1},
                                                                              {"scale_depth", 1},
                                                                              {"dim_model_base", 0},
                                                                              {"auto_map", nlohmann::json::object()}};
  return kNeutral;
}

// Refuses keys that change the arithmetic in ways that keel does not implement: a relative of Llama may carry its name. Other keys have no
// effect in transformers' Llama either; a warning names them.
void refuse_unknown_arithmetic(const nlohmann::json& json, const std::string& path) {
  const std::string type = json.value("model_type", nlohmann::json("llama")).is_string() ? json.value("model_type", "llama") : "?";
  if (type != "llama") throw core::DataError(path, 0, fmt::format("model_type must be \"llama\", got \"{}\"", type));
  if (optional(json, "attention_bias", false, path) || optional(json, "mlp_bias", false, path))
    throw core::DataError(path, 0, "attention_bias and mlp_bias must be false: a Llama has no biases");
  if (const auto found = json.find("hidden_act"); found != json.end() && *found != "silu" && *found != "swish")
    throw core::DataError(path, 0, fmt::format("hidden_act must be \"silu\", got {}", found->dump()));
  if (const auto found = json.find("quantization_config"); found != json.end() && !found->is_null())
    throw core::DataError(
        path, 0,
        fmt::format("quantization_config: the weights are quantised ({}), which is not supported; fetch the model in fp32, "
                    "bf16 or fp16, or as GGUF",
                    found->is_object() ? found->value("quant_method", nlohmann::json("?")).dump() : found->dump()));
  const auto is_one_of = [](const auto& list, const std::string& key) {
    return std::find(std::begin(list), std::end(list), key) != std::end(list);
  };
  for (const auto& [key, value] : json.items()) {
    if (value.is_null() || is_one_of(kReadKeys, key) || is_one_of(kHarmlessKeys, key) || key.ends_with("_token_id")) continue;
    if (const auto neutral = neutral_values().find(key); neutral != neutral_values().end()) {
      if (value == neutral->second) continue;
      throw core::DataError(path, 0,
                            fmt::format("{} = {} is not supported: a plain Llama has {}", key, value.dump(), neutral->second.dump()));
    }
    if (value == false || (value.is_structured() && value.empty())) continue;  // no effect
    const std::string shown = value.dump();
    core::log_warn_once(fmt::format("{}: \"{}\" = {} is not known to keel and not applied, as a model of type llama is computed without it",
                                    path, key, shown.size() > 60 ? shown.substr(0, 60) + "..." : shown));
  }
}

// Reads what "rope_scaling" (transformers 4) or "rope_parameters" (transformers 5) holds into the base and the scaling of `config`.
class RopeObject {
 public:
  RopeObject(const nlohmann::json& object, const char* key, const std::string& path) : object_(object), key_(key), path_(path) {}

  void read(LlamaConfig& config) const {
    if (has("rope_theta")) config.rope_theta = number("rope_theta");
    RopeScaling& scaling = config.rope_scaling;
    scaling.kind = kind();
    if (scaling.kind != RopeKind::none) scaling.factor = number("factor");
    if (scaling.kind == RopeKind::llama3) {
      scaling.low_freq_factor = number("low_freq_factor");
      scaling.high_freq_factor = number("high_freq_factor");
      if (const nlohmann::json value = member("original_max_position_embeddings"); !value.is_number_integer())
        refuse(fmt::format("\"original_max_position_embeddings\" must be an integer, got {}", value.dump()));
      scaling.original_max_position_embeddings = member("original_max_position_embeddings").get<int64_t>();
    }
    for (const auto& [name, value] : object_.items())
      if (!value.is_null() && !is_read(scaling.kind, name, value))
        refuse(fmt::format("{} = {} is not supported{}", name, value.dump(),
                           has_kind() ? fmt::format(" for type \"{}\"", core::name_of(scaling.kind)) : " without a \"rope_type\""));
  }

 private:
  [[noreturn]] void refuse(const std::string& text) const { throw core::DataError(path_, 0, fmt::format("{}: {}", key_, text)); }

  bool has(const char* name) const { return object_.contains(name) && !object_.at(name).is_null(); }
  bool has_kind() const { return has("rope_type") || has("type"); }

  const nlohmann::json& member(const char* name) const {
    if (!has(name)) refuse(fmt::format("\"{}\" is missing; take {} from the config.json of the model as it was published", name, key_));
    return object_.at(name);
  }

  double number(const char* name) const {
    const nlohmann::json& value = member(name);
    if (!value.is_number()) refuse(fmt::format("\"{}\" must be a number, got {}", name, value.dump()));
    return value.get<double>();
  }

  RopeKind kind() const {
    if (!has_kind()) return RopeKind::none;
    const nlohmann::json& named = object_.at(has("rope_type") ? "rope_type" : "type");
    if (has("rope_type") && has("type") && object_.at("type") != named)
      refuse(fmt::format("\"rope_type\" and \"type\" contradict each other ({} and {}); keep the right one", named.dump(),
                         object_.at("type").dump()));
    for (const auto& known : names(RopeKind{}))
      if (named == known.name) return known.value;
    refuse(fmt::format("type {} is not supported; keel computes default, linear and llama3, so take a checkpoint that has one of these",
                       named.dump()));
  }

  // Whether the member is read above, or has no effect on a model of that kind.
  bool is_read(RopeKind kind, const std::string& name, const nlohmann::json& value) const {
    if (name == "rope_type" || name == "type" || name == "rope_theta") return true;
    if ((name == "attention_factor" || name == "partial_rotary_factor") && value == 1) return true;
    if (name == "factor") return has_kind() || value == 1;
    if (name == "original_max_position_embeddings") return has_kind();  // read for llama3 alone, no part of the others' arithmetic
    return kind == RopeKind::llama3 && (name == "low_freq_factor" || name == "high_freq_factor");
  }

  const nlohmann::json& object_;
  const char* key_;
  const std::string& path_;
};

// The base and the scaling of the rotary embedding, in any spelling.
void read_rope(const nlohmann::json& json, const std::string& path, LlamaConfig& config) {
  config.rope_theta = optional(json, "rope_theta", 10000.0, path);
  const LlamaConfig plain = config;
  bool seen = false;
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const auto found = json.find(key);
    if (found == json.end() || found->is_null()) continue;
    if (!found->is_object()) throw core::DataError(path, 0, fmt::format("{} must be an object or null, got {}", key, found->dump()));
    if (found->empty()) continue;
    LlamaConfig named = plain;
    RopeObject(*found, key, path).read(named);
    if (seen && (named.rope_scaling != config.rope_scaling || named.rope_theta != config.rope_theta))
      throw core::DataError(path, 0, "rope_scaling and rope_parameters contradict each other; keep the right one");
    config = named;
    seen = true;
  }
  // transformers lets this one win over that inside; where both agree nothing is in doubt.
  const RopeScaling& scaling = config.rope_scaling;
  if (const int64_t outer = optional(json, "original_max_position_embeddings", scaling.original_max_position_embeddings, path);
      scaling.kind == RopeKind::llama3 && outer != scaling.original_max_position_embeddings)
    throw core::DataError(path, 0,
                          fmt::format("original_max_position_embeddings is {} here and {} in the rope scaling; keep the right one", outer,
                                      scaling.original_max_position_embeddings));
}

void check_scaling(const RopeScaling& scaling, std::vector<std::string>& problems) {
  if (scaling.kind == RopeKind::none) return;
  if (!(scaling.factor >= 1) || !std::isfinite(scaling.factor))
    problems.push_back(fmt::format("the factor of rope scaling must be at least 1, got {}", scaling.factor));
  if (scaling.kind != RopeKind::llama3) return;
  if (!(scaling.low_freq_factor > 0) || !(scaling.high_freq_factor > scaling.low_freq_factor) || !std::isfinite(scaling.high_freq_factor))
    problems.push_back(fmt::format("rope scaling needs 0 < low_freq_factor < high_freq_factor, got {} and {}", scaling.low_freq_factor,
                                   scaling.high_freq_factor));
  if (scaling.original_max_position_embeddings < 1)
    problems.push_back(fmt::format("original_max_position_embeddings of rope scaling must be at least 1, got {}",
                                   scaling.original_max_position_embeddings));
}

nlohmann::json scaling_json(const RopeScaling& scaling) {
  if (scaling.kind == RopeKind::none) return nullptr;
  nlohmann::json json = {{"rope_type", core::name_of(scaling.kind)}, {"factor", scaling.factor}};
  if (scaling.kind == RopeKind::llama3)
    json.update({{"low_freq_factor", scaling.low_freq_factor},
                 {"high_freq_factor", scaling.high_freq_factor},
                 {"original_max_position_embeddings", scaling.original_max_position_embeddings}});
  return json;
}

double rough_weights(const LlamaConfig& config) {
  const auto real = [](int64_t value) { return static_cast<double>(value); };
  const double attention = 2 * real(config.head_size()) * real(config.num_attention_heads + config.num_key_value_heads);
  const double layer = real(config.hidden_size) * (attention + 3 * real(config.intermediate_size) + 2);
  return real(config.num_hidden_layers) * layer + 2 * real(config.vocab_size) * real(config.hidden_size);
}

}  // namespace

std::vector<std::string> problems_of(const LlamaConfig& config) {
  std::vector<std::string> problems;
  constexpr int64_t kLargest = int64_t{1} << 31;
  for (const auto& [name, value] : {std::pair{"vocab_size", config.vocab_size},
                                    {"hidden_size", config.hidden_size},
                                    {"intermediate_size", config.intermediate_size},
                                    {"num_hidden_layers", config.num_hidden_layers},
                                    {"num_attention_heads", config.num_attention_heads},
                                    {"num_key_value_heads", config.num_key_value_heads},
                                    {"max_position_embeddings", config.max_position_embeddings}})
    if (value < 1 || value >= kLargest) problems.push_back(fmt::format("{} must lie in 1..{}, got {}", name, kLargest - 1, value));
  if (config.num_hidden_layers > 4096)
    problems.push_back(fmt::format("num_hidden_layers must be at most 4096, got {}", config.num_hidden_layers));
  if (!problems.empty()) return problems;
  if (config.head_dim < 0 || config.head_dim >= kLargest)
    problems.push_back(fmt::format("head_dim must lie in 0..{}, got {}", kLargest - 1, config.head_dim));
  if (config.head_dim == 0 && config.hidden_size % config.num_attention_heads != 0)
    problems.push_back(
        fmt::format("num_attention_heads must divide hidden_size {}, got {}", config.hidden_size, config.num_attention_heads));
  if (config.num_attention_heads % config.num_key_value_heads != 0)
    problems.push_back(fmt::format("num_key_value_heads must divide num_attention_heads {}, got {}", config.num_attention_heads,
                                   config.num_key_value_heads));
  if (config.head_size() % 2 != 0) problems.push_back(fmt::format("the width of a head must be even for RoPE, got {}", config.head_size()));
  if (!(config.rms_norm_eps > 0) || !std::isfinite(config.rms_norm_eps))
    problems.push_back(fmt::format("rms_norm_eps must be positive, got {}", config.rms_norm_eps));
  if (!(config.rope_theta > 0) || !std::isfinite(config.rope_theta))
    problems.push_back(fmt::format("rope_theta must be positive, got {}", config.rope_theta));
  check_scaling(config.rope_scaling, problems);
  // Limits sizes so that their products fit 64 bits: a wrong header must not overflow into a small size.
  constexpr double kMostWeights = 1e14;
  if (const double weights = rough_weights(config); weights > kMostWeights)
    problems.push_back(fmt::format("the sizes make a model of {:.1e} weights, at most {:.0e} are taken", weights, kMostWeights));
  return problems;
}

LlamaConfig read_llama_config(const nlohmann::json& json, const std::string& path) {
  if (!json.is_object()) throw core::DataError(path, 0, "must be a JSON object");
  refuse_unknown_arithmetic(json, path);
  LlamaConfig config;
  config.vocab_size = required<int64_t>(json, "vocab_size", path);
  config.hidden_size = required<int64_t>(json, "hidden_size", path);
  config.intermediate_size = required<int64_t>(json, "intermediate_size", path);
  config.num_hidden_layers = required<int64_t>(json, "num_hidden_layers", path);
  config.num_attention_heads = required<int64_t>(json, "num_attention_heads", path);
  config.num_key_value_heads = optional(json, "num_key_value_heads", config.num_attention_heads, path);
  config.head_dim = optional(json, "head_dim", int64_t{0}, path);
  config.max_position_embeddings = optional(json, "max_position_embeddings", int64_t{2048}, path);
  config.rms_norm_eps = optional(json, "rms_norm_eps", 1e-6, path);  // Hugging Face's default
  read_rope(json, path, config);
  config.tie_word_embeddings = optional(json, "tie_word_embeddings", false, path);
  if (const auto problems = problems_of(config); !problems.empty())
    throw core::DataError(path, 0, fmt::format("{}", fmt::join(problems, "; ")));
  return config;
}

nlohmann::json to_hugging_face(const LlamaConfig& config) {
  return {{"model_type", "llama"},
          {"vocab_size", config.vocab_size},
          {"hidden_size", config.hidden_size},
          {"intermediate_size", config.intermediate_size},
          {"num_hidden_layers", config.num_hidden_layers},
          {"num_attention_heads", config.num_attention_heads},
          {"num_key_value_heads", config.num_key_value_heads},
          {"head_dim", config.head_size()},
          {"max_position_embeddings", config.max_position_embeddings},
          {"rms_norm_eps", config.rms_norm_eps},
          {"rope_theta", config.rope_theta},
          {"rope_scaling", scaling_json(config.rope_scaling)},
          {"tie_word_embeddings", config.tie_word_embeddings},
          {"hidden_act", "silu"},
          {"attention_bias", false},
          {"mlp_bias", false},
          {"torch_dtype", "float32"}};
}

}  // namespace keel::policy
