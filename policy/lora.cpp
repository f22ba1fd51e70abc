#include "policy/lora.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "core/rng.h"
#include "runtime/tensor_file.h"

namespace keel::policy {
namespace {

constexpr const char* kPeftPrefix = "base_model.model.";

// Members of adapter_config.json that are read, or that change nothing in a trained adapter. Excluded modules show in the tensors.
const std::set<std::string> kReadOrHarmless = {"peft_type",
                                               "task_type",
                                               "r",
                                               "lora_alpha",
                                               "target_modules",
                                               "modules_to_save",
                                               "bias",
                                               "base_model_name_or_path",
                                               "init_lora_weights",
                                               "lora_dropout",
                                               "inference_mode",
                                               "peft_version",
                                               "auto_mapping",
                                               "revision",
                                               "exclude_modules",
                                               "layers_pattern",
                                               "megatron_core",
                                               "qalora_group_size",
                                               "loftq_config",
                                               "eva_config",
                                               "corda_config",
                                               "lora_ga_config",
                                               "runtime_config"};

const LoraConfig kEveryModule{.target_modules = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}};

void check_config(const LoraConfig& config) {
  auto problems = problems_of(config);
  if (config.rank < 1) problems.emplace_back("rank must be at least 1 for adapters");
  core::throw_if_any(std::move(problems));
}

// Reads adapter_config.json; refuses features that change the arithmetic and that keel does not implement.
// `head`: a trained scalar head may be saved beside the adapters, under PEFT's names for it.
LoraConfig read_adapter_config(const std::filesystem::path& path, bool head) {
  const nlohmann::json json = core::read_json_file(path);
  const auto refuse = [&](const std::string& text) { throw core::DataError(path, 0, text); };
  if (!json.is_object() || json.value("peft_type", nlohmann::json()) != "LORA") refuse("peft_type must be \"LORA\"");
  if (const auto bias = json.value("bias", nlohmann::json("none")); bias != "none") refuse("bias must be \"none\", got " + bias.dump());
  const auto is_set = [](const nlohmann::json& value) { return !value.is_null() && value != false && !value.empty(); };
  for (const auto& [key, value] : json.items())
    if (!kReadOrHarmless.contains(key) && is_set(value)) refuse(fmt::format("{} is not supported, got {}", key, value.dump()));
  // Others replace the weights of the base before training, which the adapter's files do not hold.
  const auto start = json.value("init_lora_weights", nlohmann::json(true));
  if (!start.is_null() && !start.is_boolean() && start != "gaussian" && start != "orthogonal" && start != "eva")
    refuse(fmt::format("init_lora_weights {} changes the base's weights: merge the adapter by peft (merge_and_unload)", start.dump()));
  if (const auto saved = json.find("modules_to_save"); saved != json.end() && !saved->is_null() && !saved->empty()) {
    const auto is_head = [](const nlohmann::json& module) { return module == "score" || module == "classifier"; };
    if (!head || !saved->is_array() || !std::all_of(saved->begin(), saved->end(), is_head))
      refuse(fmt::format("modules_to_save is not supported{}, got {}", head ? "" : " in a language model (is it a reward model's adapter?)",
                         saved->dump()));
  }
  const auto rank = json.find("r"), alpha = json.find("lora_alpha"), modules = json.find("target_modules");
  if (rank == json.end() || !rank->is_number_integer() || *rank < 1) refuse("r must be a positive integer");
  if (alpha == json.end() || !alpha->is_number()) refuse("lora_alpha must be a number");
  if (modules == json.end() || !modules->is_array()) refuse("target_modules must be a list of names");
  LoraConfig config{.rank = rank->get<int64_t>(), .alpha = alpha->get<double>(), .target_modules = {}};
  for (const auto& module : *modules) {
    const bool known = module.is_string() && std::find(kEveryModule.target_modules.begin(), kEveryModule.target_modules.end(),
                                                       module.get<std::string>()) != kEveryModule.target_modules.end();
    if (!known)
      refuse(fmt::format("target_modules must name projections ({}), got {}", fmt::join(kEveryModule.target_modules, ", "), module.dump()));
    config.target_modules.push_back(module.get<std::string>());
  }
  if (const auto problems = problems_of(config); !problems.empty()) refuse(fmt::format("{}", fmt::join(problems, "; ")));
  return config;
}

}  // namespace

std::vector<std::string> problems_of(const LoraConfig& config) {
  std::vector<std::string> problems;
  if (config.rank == 0) {
    for (const auto& field : core::set_fields(config))
      problems.push_back(fmt::format("{}: without a rank there are no adapters; leave it out, or at its default {}", field.name, field.b));
  } else if (config.target_modules.empty()) {
    problems.emplace_back("target_modules must name a projection");
  } else if (std::set<std::string>(config.target_modules.begin(), config.target_modules.end()).size() < config.target_modules.size()) {
    problems.emplace_back("target_modules must name each projection once");
  }
  return problems;
}

std::vector<std::string> problems_with(const LoraConfig& config, const LlamaConfig& shape) {
  const int64_t heads = shape.num_attention_heads * shape.head_size(), keys = shape.num_key_value_heads * shape.head_size();
  for (const auto& module : config.target_modules) {
    const int64_t other = module == "q_proj" || module == "o_proj"   ? heads
                          : module == "k_proj" || module == "v_proj" ? keys
                                                                     : shape.intermediate_size;
    const int64_t smaller = std::min(shape.hidden_size, other);
    if (config.rank > smaller)
      return {fmt::format("rank must be at most {}, the smaller side of {}, got {}", smaller, module, config.rank)};
  }
  return {};
}

void visit_targets(Llama& model, const LoraConfig& config, const std::function<void(const std::string&, at::Tensor&, LowRank&)>& visit) {
  const auto wanted = [&](const std::string& module) {
    return std::find(config.target_modules.begin(), config.target_modules.end(), module) != config.target_modules.end();
  };
  for (size_t i = 0; i < model.layers.size(); ++i) {
    LlamaLayer& layer = model.layers[i];
    const auto each = [&](const char* part, const char* module, at::Tensor& weight, LowRank& adapter) {
      if (wanted(module)) visit(fmt::format("model.layers.{}.{}.{}", i, part, module), weight, adapter);
    };
    each("self_attn", "q_proj", layer.q, layer.adapters.q);
    each("self_attn", "k_proj", layer.k, layer.adapters.k);
    each("self_attn", "v_proj", layer.v, layer.adapters.v);
    each("self_attn", "o_proj", layer.o, layer.adapters.o);
    each("mlp", "gate_proj", layer.gate, layer.adapters.gate);
    each("mlp", "up_proj", layer.up, layer.adapters.up);
    each("mlp", "down_proj", layer.down, layer.adapters.down);
  }
}

Llama with_lora(const Llama& base, const LoraConfig& config, uint64_t seed, const std::string& purpose) {
  check_config(config);
  core::throw_if_any(problems_with(config, base.config));
  Llama model = merged(base);
  visit_targets(model, config, [&](const std::string& name, at::Tensor& weight, LowRank& adapter) {
    const int64_t out = weight.size(0), in = weight.size(1);
    adapter = {.a = at::empty({config.rank, in}, at::kFloat),
               .b = at::zeros({out, config.rank}, at::kFloat),
               .scale = config.alpha / static_cast<double>(config.rank)};
    core::Stream stream(seed, purpose, core::text_key(name));
    const double bound = 1 / std::sqrt(static_cast<double>(in));
    float* value = adapter.a.mutable_data_ptr<float>();
    for (int64_t i = 0; i < adapter.a.numel(); ++i)
      value[i] = static_cast<float>(bound * (2 * stream.uniform() - 1));
    adapter.a = adapter.a.to(weight.device());
    adapter.b = adapter.b.to(weight.device());
  });
  return model;
}

Llama without_lora(const Llama& model) {
  Llama base = model;
  for (LlamaLayer& layer : base.layers)
    layer.adapters = {};
  return base;
}

Llama merged(const Llama& model) {
  const at::NoGradGuard no_grad;
  Llama plain = model;
  visit_targets(plain, kEveryModule, [](const std::string&, at::Tensor& weight, LowRank& adapter) {
    if (!adapter.a.defined()) return;
    const at::Tensor addition = adapter.scale * at::matmul(adapter.b.detach(), adapter.a.detach());
    weight = weight.detach().to(at::kFloat) + addition;
  });
  return without_lora(plain);
}

runtime::Parameters lora_parameters(const Llama& model) {
  runtime::Parameters list;
  Llama handles = model;  // shares storage
  visit_adapters(handles, [&](const std::string& name, LowRank& adapter) {
    list.push_back({name + ".lora_A.weight", adapter.a});
    list.push_back({name + ".lora_B.weight", adapter.b});
  });
  return list;
}

namespace {

// `score`: the scalar head of a sequence classifier; undefined in a language model.
void save_adapters(const std::filesystem::path& folder, const Llama& model, const LoraConfig& config, const at::Tensor& score) {
  runtime::Parameters tensors = lora_parameters(model);
  TORCH_CHECK(!tensors.empty(), "[policy.save_lora] this model has no adapters");
  if (score.defined()) tensors.push_back({"score.weight", score});
  for (auto& entry : tensors)
    entry.name = kPeftPrefix + entry.name;
  core::make_directories(folder);
  runtime::save_tensors(folder / "adapter_model.safetensors", tensors, {{"format", "pt"}});
  const nlohmann::json json = {{"peft_type", "LORA"},
                               {"task_type", score.defined() ? "SEQ_CLS" : "CAUSAL_LM"},
                               {"base_model_name_or_path", nullptr},
                               {"r", config.rank},
                               {"lora_alpha", config.alpha},
                               {"lora_dropout", 0.0},
                               {"target_modules", config.target_modules},
                               {"bias", "none"},
                               {"fan_in_fan_out", false},
                               {"inference_mode", true},
                               {"modules_to_save", score.defined() ? nlohmann::json::array({"score"}) : nlohmann::json()}};
  core::write_file(folder / "adapter_config.json", json.dump(2) + "\n");
}

}  // namespace

void save_lora(const std::filesystem::path& folder, const Llama& model, const LoraConfig& config) {
  save_adapters(folder, model, config, {});
}

void save_lora_classifier(const std::filesystem::path& folder, const Classifier& model, const LoraConfig& config) {
  save_adapters(folder, model.backbone, config, model.score);
}

namespace {

// `score`: also takes the scalar head.
Llama load_adapters(const std::filesystem::path& folder, const Llama& base, at::Tensor* score) {
  const auto path = folder / "adapter_model.safetensors";
  const LoraConfig config = read_adapter_config(folder / "adapter_config.json", score != nullptr);
  auto tensors = runtime::load_tensors(path).tensors;
  Llama model = without_lora(base);
  std::vector<std::string> problems;
  const auto take = [&](const std::string& name, std::vector<int64_t> shape) {
    const auto found = tensors.find(kPeftPrefix + name);
    at::Tensor tensor;
    if (found == tensors.end()) {
      problems.push_back(name + " is missing");
      return tensor;
    }
    if (found->second.sizes() != at::IntArrayRef(shape) || !found->second.is_floating_point())
      problems.push_back(fmt::format("{} must be floating-point [{}], got {} [{}]", name, fmt::join(shape, ", "),
                                     c10::toString(found->second.scalar_type()), fmt::join(found->second.sizes(), ", ")));
    else
      tensor = found->second.to(base.embedding.device(), at::kFloat);
    tensors.erase(found);
    return tensor;
  };
  visit_targets(model, config, [&](const std::string& name, at::Tensor& weight, LowRank& adapter) {
    adapter = {.a = take(name + ".lora_A.weight", {config.rank, weight.size(1)}),
               .b = take(name + ".lora_B.weight", {weight.size(0), config.rank}),
               .scale = config.alpha / static_cast<double>(config.rank)};
  });
  if (score != nullptr) *score = take("score.weight", {1, base.config.hidden_size});
  for (const auto& [name, tensor] : tensors)
    problems.push_back(name + " belongs to no adapter of this adapter_config.json");
  if (problems.size() > 8) problems.resize(8);
  if (!problems.empty()) throw core::DataError(path, 0, fmt::format("{}", fmt::join(problems, "; ")));
  return model;
}

}  // namespace

Llama load_lora(const std::filesystem::path& folder, const Llama& base) {
  return load_adapters(folder, base, nullptr);
}

Classifier load_lora_classifier(const std::filesystem::path& folder, const Llama& base) {
  Classifier model{.backbone = {}, .score = {}};
  model.backbone = load_adapters(folder, backbone_of(base), &model.score);
  return model;
}

bool is_adapter(const std::filesystem::path& folder) {
  std::error_code failed;  // a path that cannot be read is reported by what reads it
  return std::filesystem::exists(folder / "adapter_config.json", failed);
}

bool is_classifier_adapter(const std::filesystem::path& folder) {
  const nlohmann::json config = core::read_json_file(folder / "adapter_config.json");
  return config.is_object() && config.value("task_type", nlohmann::json()) == "SEQ_CLS";
}

}  // namespace keel::policy
