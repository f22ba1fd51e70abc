// Reads Llamas as Meta publishes them: params.json and consolidated.NN.pth. Names, shapes and splits follow Meta's reference code
// (facebookresearch/llama, meta-llama/llama3: model.py); the merging rule is that of transformers' convert_llama_weights_to_hf.py.
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.h"
#include "core/json.h"
#include "core/log.h"
#include "core/torch_file.h"
#include "core/utf8.h"
#include "policy/import.h"
#include "policy/model_directory.h"

namespace keel::policy {
namespace {

namespace fs = std::filesystem;

// params.json

class MetaParams {
 public:
  MetaParams(const nlohmann::json& params, const std::string& path) : params_(params), path_(path) {
    if (!params.is_object()) throw core::DataError(path, 0, "must be a JSON object");
    static constexpr const char* kKnown[] = {"dim",         "n_layers",           "n_heads",  "n_kv_heads",      "multiple_of",
                                             "vocab_size",  "ffn_dim_multiplier", "norm_eps", "use_scaled_rope", "rope_theta",
                                             "max_seq_len", "max_batch_size"};
    for (const auto& [key, value] : params.items())
      if (!value.is_null() && std::find(std::begin(kKnown), std::end(kKnown), key) == std::end(kKnown))
        throw core::DataError(path, 0,
                              fmt::format("\"{}\" = {} is not known to keel and may change what the model computes; it reads the text "
                                          "models of Llama 1 to 3",
                                          core::printable(key), core::printable(value.dump())));
  }

  bool has(const char* key) const { return params_.contains(key) && !params_.at(key).is_null(); }
  int64_t integer(const char* key) const {
    if (!member(key).is_number_integer()) refuse(key, "an integer");
    return member(key).get<int64_t>();
  }
  double number(const char* key) const {
    if (!member(key).is_number()) refuse(key, "a number");
    return member(key).get<double>();
  }
  bool flag(const char* key) const {
    if (!has(key)) return false;
    if (!member(key).is_boolean()) refuse(key, "true or false");
    return member(key).get<bool>();
  }

 private:
  const nlohmann::json& member(const char* key) const {
    if (!has(key)) throw core::DataError(path_, 0, fmt::format("\"{}\" is missing; fetch params.json again", key));
    return params_.at(key);
  }
  [[noreturn]] void refuse(const char* key, const char* kind) const {
    throw core::DataError(path_, 0, fmt::format("\"{}\" must be {}, got {}", key, kind, member(key).dump()));
  }

  const nlohmann::json& params_;
  const std::string& path_;
};

// Two thirds of 4 x dim, times the multiplier, up to a multiple: the width of the feed-forward layer in Meta's model.py.
int64_t inner_width(const MetaParams& params, int64_t width) {
  constexpr double kLargest = 1e15;  // where doubles still hold every integer; problems_of() refuses it as a width
  const int64_t multiple = params.integer("multiple_of");
  double inner = std::floor(8 * static_cast<double>(width) / 3);
  if (params.has("ffn_dim_multiplier")) inner = std::floor(params.number("ffn_dim_multiplier") * inner);
  if (multiple < 1 || multiple > int64_t{1} << 31 || !(inner >= 1) || inner > kLargest) return 0;
  return multiple * ((static_cast<int64_t>(inner) + multiple - 1) / multiple);
}

// Llama 3.1's scaling, whose constants stand in Meta's code and not in params.json. The two small models of Llama 3.2 were published with
// 32 in place of its factor 8 (config.json of their Hugging Face folders).
RopeScaling meta_scaling(const LlamaConfig& config) {
  const bool small =
      (config.hidden_size == 2048 && config.num_hidden_layers == 16) || (config.hidden_size == 3072 && config.num_hidden_layers == 28);
  return {.kind = RopeKind::llama3, .factor = small ? 32.0 : 8.0};
}

int64_t published_context(const LlamaConfig& config, const std::string& path) {
  if (config.rope_scaling.kind != RopeKind::none) return 131072;                    // Llama 3.1 and later
  if (config.rope_theta == 500000) return 8192;                                     // Llama 3
  if (config.rope_theta == 1000000) return 16384;                                   // Code Llama
  if (config.rope_theta == 10000) return config.rms_norm_eps < 1e-5 ? 2048 : 4096;  // LLaMA and Llama 2
  throw core::DataError(path, 0,
                        fmt::format("rope_theta = {} is that of no published Llama, so its context is not known: add \"max_seq_len\", the "
                                    "longest context in tokens",
                                    config.rope_theta));
}

// Tensors

// How the processes share a matrix: each has some of its rows (the outputs of its layer), some of its columns (the inputs), or a whole
// copy.
enum class Split { rows, columns, copies };

struct Part {
  const char* meta;
  const char* name;
  Split split;
};

constexpr Part kTopParts[] = {{"norm.weight", "model.norm.weight", Split::copies}, {"output.weight", "lm_head.weight", Split::rows}};
constexpr Part kLayerParts[] = {{"attention_norm.weight", "input_layernorm.weight", Split::copies},
                                {"attention.wq.weight", "self_attn.q_proj.weight", Split::rows},
                                {"attention.wk.weight", "self_attn.k_proj.weight", Split::rows},
                                {"attention.wv.weight", "self_attn.v_proj.weight", Split::rows},
                                {"attention.wo.weight", "self_attn.o_proj.weight", Split::columns},
                                {"ffn_norm.weight", "post_attention_layernorm.weight", Split::copies},
                                {"feed_forward.w1.weight", "mlp.gate_proj.weight", Split::rows},
                                {"feed_forward.w3.weight", "mlp.up_proj.weight", Split::rows},
                                {"feed_forward.w2.weight", "mlp.down_proj.weight", Split::columns}};
constexpr const char* kEmbedding = "tok_embeddings.weight";

// "layers.3.attention.wq.weight" -> "model.layers.3.self_attn.q_proj.weight". Unknown names stay as they are, and are reported as such.
std::pair<std::string, Split> hugging_face_part(const std::string& name) {
  for (const Part& part : kTopParts)
    if (name == part.meta) return {part.name, part.split};
  const std::string_view start = "layers.";
  const size_t dot = name.find('.', start.size());
  if (name.starts_with(start) && dot != std::string::npos)
    for (const Part& part : kLayerParts)
      if (std::string_view(name).substr(dot + 1) == part.meta)
        return {fmt::format("model.layers.{}.{}", name.substr(start.size(), dot - start.size()), part.name), part.split};
  return {name, Split::copies};
}

struct Shard {
  std::unique_ptr<core::TorchFile> file;
  std::map<std::string, const core::TorchTensor*> tensors;
};

std::vector<Shard> open_shards(const fs::path& folder) {
  std::vector<Shard> shards;
  for (const fs::path& path : meta_weights(folder)) {
    if (const std::string due = fmt::format("consolidated.{:02}.pth", shards.size()); path.filename() != due)
      throw core::DataError(path, 0, fmt::format("{} must stand before this file, but is not there; fetch the missing file", due));
    Shard shard{.file = std::make_unique<core::TorchFile>(path), .tensors = {}};
    for (const auto& tensor : shard.file->tensors())
      if (tensor.name != "rope.freqs") shard.tensors.emplace(tensor.name, &tensor);  // Meta's code computes it anew, too
    shards.push_back(std::move(shard));
    for (const auto& [name, tensor] : shards.front().tensors)
      if (!shards.back().tensors.contains(name))
        throw core::DataError(path, 0, fmt::format("lacks tensor {}, which consolidated.00.pth has", core::printable(name)));
    if (shards.back().tensors.size() != shards.front().tensors.size())
      throw core::DataError(path, 0, "has tensors that consolidated.00.pth lacks: the files belong to different models");
  }
  return shards;
}

at::Tensor read_tensor(const Shard& shard, const std::string& name) {
  const core::TorchTensor& entry = *shard.tensors.at(name);
  const std::string_view bytes = shard.file->bytes(entry);
  const at::ScalarType type = entry.dtype == "F32" ? at::kFloat : entry.dtype == "BF16" ? at::kBFloat16 : at::kHalf;
  const at::Tensor reached = at::empty({static_cast<int64_t>(bytes.size() / c10::elementSize(type))}, type);
  if (bytes.empty()) return reached.reshape(entry.shape);
  std::memcpy(reached.mutable_data_ptr(), bytes.data(), bytes.size());
  return reached.as_strided(entry.shape, entry.strides).contiguous();
}

// The tensor that every shard has a part of.
at::Tensor merged(const std::vector<Shard>& shards, const std::string& name, Split split) {
  std::vector<at::Tensor> parts;
  for (const Shard& shard : shards)
    parts.push_back(read_tensor(shard, name));
  const at::Tensor& first = parts.front();
  for (size_t i = 1; i < parts.size(); ++i) {
    const at::Tensor& other = parts[i];
    const bool fits = split == Split::copies ? other.sizes() == first.sizes() && other.dtype() == first.dtype() && other.equal(first)
                                             : first.dim() == 2 && other.dim() == 2 && other.sizes() == first.sizes();
    if (!fits)
      throw core::DataError(shards[i].file->path(), 0,
                            fmt::format("{} {} that of consolidated.00.pth: the files belong to different models", core::printable(name),
                                        split == Split::copies ? "differs from" : "has another shape than"));
  }
  if (parts.size() == 1 || split == Split::copies) return first;
  return at::cat(parts, split == Split::rows ? 0 : 1);
}

// Llama and Llama 2 split the embedding by columns, Llama 3 by rows; the shape of a part tells which.
Split embedding_split(const std::vector<Shard>& shards, int64_t width) {
  const auto found = shards.front().tensors.find(kEmbedding);
  const std::string& path = shards.front().file->path();
  if (found == shards.front().tensors.end()) throw core::DataError(path, 0, fmt::format("lacks tensor {}", kEmbedding));
  const std::vector<int64_t>& shape = found->second->shape;
  const auto count = std::ssize(shards);
  if (shape.size() == 2 && shape[1] == width) return Split::rows;
  if (shape.size() == 2 && width % count == 0 && shape[1] == width / count) return Split::columns;
  throw core::DataError(path, 0,
                        fmt::format("{} must have {} columns by params.json (or {} parts of them), got the shape [{}]", kEmbedding, width,
                                    count, fmt::join(shape, ", ")));
}

}  // namespace

std::vector<fs::path> meta_weights(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code failed;
  for (auto entry = fs::directory_iterator(folder, failed); !failed && entry != fs::directory_iterator(); entry.increment(failed))
    if (const std::string name = entry->path().filename(); name.starts_with("consolidated.") && name.ends_with(".pth"))
      files.push_back(entry->path());
  std::sort(files.begin(), files.end());
  return files;
}

bool is_meta_folder(const fs::path& folder) {
  return fs::is_regular_file(folder / "params.json") && !meta_weights(folder).empty();
}

LlamaConfig read_meta_params(const nlohmann::json& json, int64_t vocabulary, const std::string& path) {
  const MetaParams params(json, path);
  LlamaConfig config;
  config.hidden_size = params.integer("dim");
  config.intermediate_size = inner_width(params, config.hidden_size);
  config.num_hidden_layers = params.integer("n_layers");
  config.num_attention_heads = params.integer("n_heads");
  config.num_key_value_heads = params.has("n_kv_heads") ? params.integer("n_kv_heads") : config.num_attention_heads;
  config.rms_norm_eps = params.number("norm_eps");
  if (params.has("rope_theta")) config.rope_theta = params.number("rope_theta");
  if (params.flag("use_scaled_rope")) config.rope_scaling = meta_scaling(config);
  config.max_position_embeddings = params.has("max_seq_len") ? params.integer("max_seq_len") : published_context(config, path);
  config.vocab_size = vocabulary;
  if (const int64_t named = params.has("vocab_size") ? params.integer("vocab_size") : -1; named != -1 && named != vocabulary)
    throw core::DataError(path, 0, fmt::format("vocab_size is {}, but {} has {} rows", named, kEmbedding, vocabulary));
  if (const auto problems = problems_of(config); !problems.empty())
    throw core::DataError(path, 0, fmt::format("describes no Llama: {}", fmt::join(problems, "; ")));
  return config;
}

Llama import_meta(const fs::path& folder) {
  const fs::path path = folder / "params.json";
  const nlohmann::json json = core::read_json_file(path);
  const std::vector<Shard> shards = open_shards(folder);
  if (shards.empty()) throw core::UsageError(fmt::format("{} holds no consolidated.00.pth: fetch the weights too", folder.string()));
  const Split split = embedding_split(shards, MetaParams(json, path).integer("dim"));
  std::map<std::string, at::Tensor> tensors;
  tensors["model.embed_tokens.weight"] = merged(shards, kEmbedding, split);
  LlamaConfig config = read_meta_params(json, tensors["model.embed_tokens.weight"].size(0), path);
  for (const auto& [meta, entry] : shards.front().tensors) {
    if (meta == kEmbedding) continue;
    const auto [name, how] = hugging_face_part(meta);
    at::Tensor tensor = merged(shards, meta, how);
    const bool query = name.ends_with("q_proj.weight");
    const int64_t heads = query ? config.num_attention_heads : config.num_key_value_heads;
    if ((query || name.ends_with("k_proj.weight")) && tensor.dim() == 2 && tensor.size(0) % (2 * heads) == 0)
      tensor = rotate_half_rows(tensor, heads);
    if (!tensors.emplace(name, std::move(tensor)).second)
      throw core::DataError(shards.front().file->path(), 0, fmt::format("holds {} under two names", core::printable(name)));
  }
  const auto head = tensors.find("lm_head.weight");
  const at::Tensor& embedding = tensors["model.embed_tokens.weight"];
  config.tie_word_embeddings = head == tensors.end() || (head->second.dtype() == embedding.dtype() && head->second.equal(embedding));
  if (config.tie_word_embeddings) tensors.erase("lm_head.weight");
  core::log_info(fmt::format("{}: {} consolidated file{}, a context of {} tokens", folder.string(), shards.size(),
                             shards.size() == 1 ? "" : "s", config.max_position_embeddings));
  return assemble(config, std::move(tensors), path, Precision::stored);
}

}  // namespace keel::policy
