#include "policy/checkpoint.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/files.h"
#include "core/gguf.h"
#include "core/gguf_blocks.h"
#include "core/json.h"
#include "core/safetensors.h"
#include "policy/import.h"
#include "policy/model_directory.h"

namespace keel::policy {
namespace {

namespace fs = std::filesystem;
using Shapes = std::map<std::string, std::vector<int64_t>>;

int64_t elements(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const int64_t side : shape)
    count *= side;
  return count;
}

// Names and shapes that a model of this shape must have.
Shapes wanted_shapes(const Checkpoint& checkpoint) {
  Llama model = empty_llama(checkpoint.config, c10::kMeta);
  if (checkpoint.scalar_head) model = backbone_of(model);
  Shapes shapes;
  visit_weights(model, [&](const std::string& name, at::Tensor& tensor) { shapes[name] = tensor.sizes().vec(); });
  if (checkpoint.scalar_head) shapes["score.weight"] = {1, checkpoint.config.hidden_size};
  return shapes;
}

// The rules of load_llama() and load_classifier() for names and shapes.
void compare_(Checkpoint& checkpoint, Shapes found) {
  if (checkpoint.scalar_head) found.erase("lm_head.weight");
  if (checkpoint.config.tie_word_embeddings) {
    const auto head = found.find("lm_head.weight");
    if (head != found.end() && !found.contains("model.embed_tokens.weight")) found["model.embed_tokens.weight"] = head->second;
    found.erase("lm_head.weight");
  }
  for (const auto& [name, shape] : wanted_shapes(checkpoint)) {
    const auto it = found.find(name);
    if (it == found.end())
      checkpoint.problems.push_back(name + " is missing");
    else if (it->second != shape)
      checkpoint.problems.push_back(
          fmt::format("{} must be [{}] by config.json, got [{}]", name, fmt::join(shape, ", "), fmt::join(it->second, ", ")));
    if (it != found.end()) found.erase(it);
  }
  for (const auto& [name, shape] : found)
    checkpoint.problems.push_back(name + " belongs to no Llama of this config.json");
}

}  // namespace

Checkpoint describe_folder(const fs::path& folder) {
  Checkpoint checkpoint{.config = read_config(folder)};
  const nlohmann::json json = core::read_json_file(folder / "config.json");
  const auto architectures = json.value("architectures", nlohmann::json());
  checkpoint.scalar_head = architectures.is_array() &&
                           std::find(architectures.begin(), architectures.end(), "LlamaForSequenceClassification") != architectures.end();
  Shapes shapes;
  std::string head_dtype;
  for (const auto& file : weight_files(folder)) {
    checkpoint.bytes += static_cast<int64_t>(fs::file_size(file));
    const core::SafetensorsFile safetensors(file);
    for (const core::TensorEntry& entry : safetensors.entries()) {
      if (entry.name.ends_with("rotary_emb.inv_freq")) continue;
      shapes[entry.name] = entry.shape;
      if (entry.name == "lm_head.weight") head_dtype = entry.dtype;
      checkpoint.dtypes[entry.dtype] += elements(entry.shape);
      checkpoint.parameters += elements(entry.shape);
    }
  }
  if (checkpoint.config.tie_word_embeddings && shapes.contains("lm_head.weight") && shapes.contains("model.embed_tokens.weight")) {
    checkpoint.dtypes[head_dtype] -= elements(shapes["lm_head.weight"]);
    checkpoint.parameters -= elements(shapes["lm_head.weight"]);
  }
  compare_(checkpoint, shapes);
  return checkpoint;
}

Checkpoint describe_gguf(const fs::path& path) {
  const core::GgufFile file(path);
  Checkpoint checkpoint{.config = gguf_config(file)};
  checkpoint.bytes = static_cast<int64_t>(fs::file_size(path));
  for (const core::GgufTensor& tensor : file.tensors()) {
    checkpoint.dtypes[core::ggml_type_name(tensor.type)] += elements(tensor.shape);
    checkpoint.parameters += elements(tensor.shape);
  }
  return checkpoint;
}

Checkpoint describe_llama2c(const fs::path& path) {
  Checkpoint checkpoint{.config = llama2c_config(path)};
  checkpoint.bytes = static_cast<int64_t>(fs::file_size(path));
  checkpoint.parameters = runtime::count_elements(parameters(empty_llama(checkpoint.config, c10::kMeta)));
  checkpoint.dtypes["F32"] = checkpoint.parameters;
  return checkpoint;
}

AdapterCheckpoint describe_adapter(const fs::path& folder) {
  const fs::path path = folder / "adapter_config.json";
  const nlohmann::json json = core::read_json_file(path);
  AdapterCheckpoint adapter;
  try {
    if (const std::string type = json.at("peft_type"); type != "LORA")
      throw core::DataError(path, 0, fmt::format("peft_type must be \"LORA\", got \"{}\": keel reads no other adapters", type));
    const auto text = [&](const char* key) {
      const auto found = json.find(key);
      return found == json.end() || found->is_null() ? std::string() : found->get<std::string>();
    };
    adapter.base = text("base_model_name_or_path");
    adapter.task = text("task_type");
    adapter.rank = json.at("r");
    adapter.alpha = json.at("lora_alpha");
    const auto& modules = json.at("target_modules");
    adapter.modules = modules.is_string() ? std::vector<std::string>{modules} : modules.get<std::vector<std::string>>();
  } catch (const nlohmann::json::exception& error) {
    throw core::DataError(path, 0, fmt::format("is not the configuration of an adapter ({})", error.what()));
  }
  const fs::path weights = folder / "adapter_model.safetensors";
  if (!fs::exists(weights))
    throw core::UsageError(fmt::format("{} is missing; fetch the adapter's weights as safetensors", weights.string()));
  adapter.bytes = static_cast<int64_t>(fs::file_size(weights));
  const core::SafetensorsFile safetensors(weights);
  for (const core::TensorEntry& entry : safetensors.entries()) {
    adapter.dtypes[entry.dtype] += elements(entry.shape);
    adapter.parameters += elements(entry.shape);
  }
  return adapter;
}

}  // namespace keel::policy
