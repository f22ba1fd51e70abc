#include "policy/model_directory.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "policy/other_checkpoints.h"
#include "runtime/tensor_file.h"

namespace keel::policy {

namespace fs = std::filesystem;

std::vector<fs::path> weight_files(const fs::path& folder) {
  if (fs::exists(folder / "model.safetensors")) return {folder / "model.safetensors"};
  const fs::path index = folder / "model.safetensors.index.json";
  if (!fs::exists(index)) {
    const std::string other = other_folder(folder);
    throw core::UsageError(fmt::format("{} holds no model.safetensors and no model.safetensors.index.json; {}", folder.string(),
                                       other.empty() ? "fetch the weights of the model too" : other));
  }
  const nlohmann::json json = core::read_json_file(index);
  const auto map = json.find("weight_map");
  if (!json.is_object() || map == json.end() || !map->is_object())
    throw core::DataError(index, 0, "\"weight_map\" must be an object of tensor name to file name");
  std::set<std::string> names;
  for (const auto& [tensor, file] : map->items()) {
    if (!file.is_string() || file.get<std::string>().find('/') != std::string::npos)
      throw core::DataError(index, 0, fmt::format("weight_map[\"{}\"] must be a file name in this folder, got {}", tensor, file.dump()));
    names.insert(file.get<std::string>());
  }
  std::vector<fs::path> files;
  for (const auto& name : names) {
    if (!fs::exists(folder / name))
      throw core::DataError(index, 0, fmt::format("names {}, which is not there; fetch the missing shard", name));
    files.push_back(folder / name);
  }
  return files;
}

LlamaConfig read_config(const fs::path& folder) {
  const fs::path path = folder / "config.json";
  if (!fs::exists(path)) {
    const std::string other = other_folder(folder);
    throw core::UsageError(
        fmt::format("{} is no model folder: it holds no config.json{}{}", folder.string(), other.empty() ? "" : "; ", other));
  }
  return read_llama_config(core::read_json_file(path), path);
}

namespace {

std::map<std::string, at::Tensor> load_all(const fs::path& folder) {
  std::map<std::string, at::Tensor> tensors;
  for (const auto& file : weight_files(folder))
    for (auto& [name, tensor] : runtime::load_tensors(file).tensors) {
      if (name.ends_with("rotary_emb.inv_freq")) continue;
      if (!tensors.emplace(name, std::move(tensor)).second)
        throw core::DataError(file, 0, fmt::format("tensor {} stands in another shard too", name));
    }
  return tensors;
}

// Collects the problems of a set of tensors, so that one error names them all.
class Problems {
 public:
  Problems(fs::path path, Precision precision) : path_(std::move(path)), precision_(precision) {}

  // Takes the tensor of that name out of `found` if its shape is that of `wanted`.
  void take(std::map<std::string, at::Tensor>& found, const std::string& name, at::Tensor& wanted) {
    const auto source = found.find(name);
    if (source == found.end()) {
      list_.push_back(fmt::format("{} is missing", name));
      return;
    }
    if (source->second.sizes() != wanted.sizes())
      list_.push_back(fmt::format("{} must be [{}] by {}, got [{}]", name, fmt::join(wanted.sizes(), ", "), shapes_from(),
                                  fmt::join(source->second.sizes(), ", ")));
    else if (!source->second.is_floating_point())
      list_.push_back(fmt::format("{} must hold floating-point numbers, got {}", name, c10::toString(source->second.scalar_type())));
    else
      wanted = source->second.to(kept_type(name, source->second));
    // One NaN or infinity makes the sum NaN or infinite.
    if (wanted.is_cpu() && wanted.numel() > 0 && !std::isfinite(wanted.sum(at::kDouble).item<double>()))
      list_.push_back(fmt::format("{} holds NaN or infinity: the training that wrote it diverged, or the file is damaged", name));
    found.erase(source);
  }

  void throw_if_any(const std::map<std::string, at::Tensor>& left_over) {
    for (const auto& [name, tensor] : left_over)
      list_.push_back(fmt::format("{} belongs to no Llama of this {}", name, shapes_from()));
    if (list_.empty()) return;
    constexpr size_t kShown = 8;
    const std::vector<std::string> shown(list_.begin(), list_.begin() + static_cast<std::ptrdiff_t>(std::min(list_.size(), kShown)));
    const std::string more = list_.size() > kShown ? fmt::format("; and {} more", list_.size() - kShown) : "";
    throw core::DataError(path_, 0, fmt::format("{}{}", fmt::join(shown, "; "), more));
  }

 private:
  at::ScalarType kept_type(const std::string& name, const at::Tensor& stored) const {
    const at::ScalarType type = stored.scalar_type();
    if (precision_ == Precision::frozen && may_be_bf16(name) && holds_bf16(stored)) return at::kBFloat16;
    return precision_ == Precision::stored && (type == at::kBFloat16 || type == at::kHalf) ? type : at::kFloat;
  }

  // Whether bf16 holds each of its numbers; fp32 files do that keel wrote from bf16 ones.
  static bool holds_bf16(const at::Tensor& weight) {
    if (weight.scalar_type() == at::kBFloat16) return true;
    if (weight.scalar_type() != at::kFloat || weight.numel() == 0) return false;
    const auto survives = [](const at::Tensor& numbers) { return numbers.to(at::kBFloat16).to(at::kFloat).equal(numbers); };
    return survives(weight[0]) && survives(weight);  // most that are not show it in the first row
  }

  // The file that the shapes come from.
  std::string shapes_from() const { return path_.extension() == ".safetensors" ? "config.json" : path_.filename().string(); }

  fs::path path_;
  Precision precision_;
  std::vector<std::string> list_;
};

}  // namespace

Llama load_llama(const fs::path& folder, Precision precision) {
  const LlamaConfig config = read_config(folder);
  auto tensors = load_all(folder);
  if (config.tie_word_embeddings) {
    const auto embedding = tensors.find("model.embed_tokens.weight");
    const auto head = tensors.find("lm_head.weight");
    if (head != tensors.end()) {
      if (embedding == tensors.end())
        tensors.emplace("model.embed_tokens.weight", head->second);
      else if (!head->second.to(at::kFloat).equal(embedding->second.to(at::kFloat)))
        throw core::DataError(folder / "model.safetensors", 0,
                              "lm_head.weight differs from embed_tokens.weight, but config.json says tie_word_embeddings");
      tensors.erase("lm_head.weight");
    }
  }
  return assemble(config, std::move(tensors), folder / "model.safetensors", precision);
}

Llama assemble(const LlamaConfig& config, std::map<std::string, at::Tensor> tensors, const fs::path& origin, Precision precision) {
  Llama model = empty_llama(config, c10::kMeta);
  Problems problems(origin, precision);
  visit_weights(model, [&](const std::string& name, at::Tensor& tensor) { problems.take(tensors, name, tensor); });
  problems.throw_if_any(tensors);
  return model;
}

Classifier load_classifier(const fs::path& folder, Precision precision) {
  const LlamaConfig config = read_config(folder);
  auto tensors = load_all(folder);
  tensors.erase("lm_head.weight");
  Classifier model{.backbone = backbone_of(empty_llama(config, c10::kMeta)), .score = at::Tensor()};
  model.score = model.backbone.norm.new_empty({1, config.hidden_size});
  Problems problems(folder / "model.safetensors", precision);
  visit_weights(model.backbone, [&](const std::string& name, at::Tensor& tensor) { problems.take(tensors, name, tensor); });
  problems.take(tensors, "score.weight", model.score);
  problems.throw_if_any(tensors);
  return model;
}

nlohmann::json causal_model_json() {
  return {{"architectures", {"LlamaForCausalLM"}}};
}

void save_weights(const fs::path& folder, const LlamaConfig& config, const runtime::Parameters& weights, const nlohmann::json& extra) {
  core::make_directories(folder);
  nlohmann::json json = to_hugging_face(config);
  const at::ScalarType type = common_dtype(weights);
  json["torch_dtype"] = dtype_name(type);
  json.update(extra);
  runtime::save_tensors(folder / "model.safetensors", weights, {{"format", "pt"}}, type);
  core::write_file(folder / "config.json", json.dump(2) + "\n");
}

at::Tensor rotate_half_rows(const at::Tensor& interleaved, int64_t heads) {
  const int64_t rows = interleaved.size(0), columns = interleaved.size(1);
  return interleaved.view({heads, rows / heads / 2, 2, columns}).transpose(1, 2).reshape({rows, columns}).contiguous();
}

}  // namespace keel::policy
