// Low-rank adapters (Hu et al. 2021, arXiv 2106.09685): a projection W of a frozen model becomes W + (alpha / r) B A, and A [r, in] and
// B [out, r] alone are trained. Files are those of PEFT (adapter_config.json, adapter_model.safetensors).
//
// An adapted model is a Llama whose layers hold adapters; it shares the weights of its base model, so that keeping the base model beside it
// costs no memory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "core/config.h"
#include "policy/llama.h"
#include "policy/model_directory.h"

namespace keel::policy {

struct LoraConfig {
  int64_t rank = 0;
  double alpha = 16;
  std::vector<std::string> target_modules = {"q_proj", "v_proj"};  // the paper's choice, and PEFT's for Llama
};

inline void visit(LoraConfig& config, core::Fields& fields) {
  fields("rank", config.rank, "width of the adapters; 0 = none, all weights are trained", core::at_least(0));
  fields("alpha", config.alpha, "an adapter's output is scaled by alpha / rank", core::above(0.0));
  fields("target_modules", config.target_modules, "projections that get an adapter",
         core::one_of({"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}));
}

// Every violated rule between the fields.
std::vector<std::string> problems_of(const LoraConfig& config);

// Problems with this model shape: a rank above the smaller side of a projection, which gains nothing.
std::vector<std::string> problems_with(const LoraConfig& config, const LlamaConfig& shape);

// `base` with fresh adapters: A uniform in +-1/sqrt(in) (PEFT's Kaiming start with a = sqrt(5)), each from the random stream (seed,
// purpose, its name), B 0, so that the first forward pass is the base's. Shares the storage of `base`; adapters that `base` has already are
// merged into its weights, i.e. into copies of those. Throws core::ConfigError.
Llama with_lora(const Llama& base, const LoraConfig& config, uint64_t seed, const std::string& purpose);

// Calls `visit` with the name, weight and adapter, which may be undefined, of every projection that `config` names.
void visit_targets(Llama& model, const LoraConfig& config,
                   const std::function<void(const std::string& name, at::Tensor& weight, LowRank& adapter)>& visit);

Llama without_lora(const Llama& model);  // the base: adapters off; shares its storage

// A model without adapters that computes the same: W + (alpha / r) B A, fp32, where there is an adapter. The other weights share storage.
Llama merged(const Llama& model);

// The adapters' tensors as "model.layers.0.self_attn.q_proj.lora_A.weight" and lora_B; shares storage.
runtime::Parameters lora_parameters(const Llama& model);

// A folder that peft.PeftModel.from_pretrained loads onto the base model.
void save_lora(const std::filesystem::path& folder, const Llama& model, const LoraConfig& config);

// The same with the scalar head, for a model of PEFT's task SEQ_CLS with one label.
void save_lora_classifier(const std::filesystem::path& folder, const Classifier& model, const LoraConfig& config);

// `base` with the adapters of a folder; strict, as load_llama: DataError for tensors that are missing, unknown or misshapen and for
// features that keel does not implement (biases, DoRA, rank-stabilised scales, other modules).
Llama load_lora(const std::filesystem::path& folder, const Llama& base);

// The same with the scalar head that PEFT saves for sequence classification ("score.weight"); the backbone alone of `base` is used.
Classifier load_lora_classifier(const std::filesystem::path& folder, const Llama& base);

bool is_adapter(const std::filesystem::path& folder);  // it holds an adapter_config.json

// Whether an adapter is one for sequence classification (task_type SEQ_CLS): a reward model's.
bool is_classifier_adapter(const std::filesystem::path& folder);

}  // namespace keel::policy
