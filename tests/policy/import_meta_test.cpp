// Meta's own checkpoints: params.json and files of torch.save, built here byte by byte.
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "policy/import.h"
#include "policy/lively_model.h"
#include "policy/model_directory.h"
#include "support/torch_builder.h"

using Catch::Matchers::ContainsSubstring;
using keel::core::DataError;
using keel::policy::import_meta;
using keel::policy::Llama;
using keel::policy::LlamaConfig;
using keel::policy::read_meta_params;
using keel::policy::RopeKind;
using keel::runtime::digest;
using keel::test::TemporaryFolder;
using keel::test::write_text;
using nlohmann::json;
namespace torch_save = keel::test::torch_save;

namespace {

using Named = std::vector<std::pair<std::string, at::Tensor>>;

// int(0.5 int(8 16 / 3)) = 21, up to a multiple of 24: the inner width of the lively model.
const json kMetaParams = {{"dim", 16},        {"n_layers", 2},     {"n_heads", 4},
                          {"n_kv_heads", 2},  {"multiple_of", 24}, {"ffn_dim_multiplier", 0.5},
                          {"norm_eps", 1e-5}, {"vocab_size", -1},  {"max_seq_len", 40}};

// A model whose weights are numbers of `type`.
Llama model_of(at::ScalarType type) {
  Llama model = keel::test::lively_llama();
  visit_weights(model, [&](const std::string&, at::Tensor& tensor) { tensor = tensor.to(type); });
  return model;
}

// The weights under Meta's names, q and k with interleaved pairs.
Named meta_weights_of(const Llama& model) {
  Named all = {{"tok_embeddings.weight", model.embedding},
               {"norm.weight", model.norm},
               {"output.weight", model.head},
               {"rope.freqs", at::ones({2})}};
  for (size_t i = 0; i < model.layers.size(); ++i) {
    const auto& layer = model.layers[i];
    const std::string start = "layers." + std::to_string(i) + ".";
    for (const auto& [name, tensor] : Named{{"attention_norm", layer.input_norm},
                                            {"attention.wq", keel::test::interleaved(layer.q, 4)},
                                            {"attention.wk", keel::test::interleaved(layer.k, 2)},
                                            {"attention.wv", layer.v},
                                            {"attention.wo", layer.o},
                                            {"ffn_norm", layer.post_norm},
                                            {"feed_forward.w1", layer.gate},
                                            {"feed_forward.w2", layer.down},
                                            {"feed_forward.w3", layer.up}})
      all.emplace_back(start + name + ".weight", tensor);
  }
  return all;
}

std::string meta_file_bytes(const Named& weights) {
  std::vector<torch_save::Tensor> tensors;
  for (const auto& [name, tensor] : weights) {
    const at::Tensor whole = tensor.contiguous();
    const auto type = tensor.scalar_type();
    tensors.push_back({.name = name,
                       .type = type == at::kFloat  ? "FloatStorage"
                               : type == at::kHalf ? "HalfStorage"
                                                   : "BFloat16Storage",
                       .shape = tensor.sizes().vec(),
                       .bytes = {static_cast<const char*>(whole.const_data_ptr()), whole.nbytes()}});
  }
  return torch_save::file_of(tensors);
}

// Part `index` of two: Meta's column-parallel layers have halves of the rows, the row-parallel ones and, in Llama 2, the embedding of the
// columns.
Named half_of(const Named& weights, int64_t index, int64_t embedding_dimension) {
  Named half;
  for (const auto& [name, tensor] : weights) {
    int64_t dimension = 0;
    if (name.find("wo.") != std::string::npos || name.find("w2.") != std::string::npos) dimension = 1;
    if (name.starts_with("tok_")) dimension = embedding_dimension;
    half.emplace_back(name, tensor.dim() == 1 ? tensor : tensor.chunk(2, dimension)[static_cast<size_t>(index)]);
  }
  return half;
}

void write_meta_folder(const std::filesystem::path& folder, const std::vector<Named>& shards, const json& params = kMetaParams) {
  std::filesystem::create_directories(folder);
  write_text(folder / "params.json", params.dump());
  for (size_t i = 0; i < shards.size(); ++i)
    write_text(folder / ("consolidated.0" + std::to_string(i) + ".pth"), meta_file_bytes(shards[i]));
}

std::string meta_complaint(const std::vector<Named>& shards, const json& params = kMetaParams) {
  const TemporaryFolder folder;
  write_meta_folder(folder.path(), shards, params);
  try {
    import_meta(folder.path());
    return "";
  } catch (const DataError& error) {
    return error.what();
  }
}

json params_with(const json& changes) {
  json params = kMetaParams;
  params.update(changes);
  return params;
}

}  // namespace

TEST_CASE("import: Meta's checkpoint gives the same bits as the Hugging Face layout, in one file or merged from two", "[policy]") {
  const at::ScalarType type = GENERATE(at::kBFloat16, at::kHalf, at::kFloat);
  const Llama model = model_of(type);
  const Named whole = meta_weights_of(model);
  // An even vocabulary, for the file to be halved by rows.
  Llama even = model;
  even.embedding = model.embedding.narrow(0, 0, 22);
  even.head = model.head.narrow(0, 0, 22);
  even.config.vocab_size = 22;
  const Named even_whole = meta_weights_of(even);
  const TemporaryFolder folder;
  write_meta_folder(folder / "one", {whole});
  write_meta_folder(folder / "columns", {half_of(even_whole, 0, 1), half_of(even_whole, 1, 1)});
  write_meta_folder(folder / "rows", {half_of(even_whole, 0, 0), half_of(even_whole, 1, 0)}, params_with({{"vocab_size", 22}}));
  for (const auto& [name, expected] : {std::pair{"one", model}, {"columns", even}, {"rows", even}}) {
    INFO(name);
    const Llama read = import_meta(folder / name);
    CHECK(digest(parameters(read)) == digest(parameters(expected)));
    CHECK(keel::policy::common_dtype(parameters(read)) == type);
    CHECK(to_hugging_face(read.config) == to_hugging_face(expected.config));
  }
}

TEST_CASE("import: weights that share a storage, as those of Meta's split checkpoints, are told apart by offset and strides", "[policy]") {
  const Llama model = model_of(at::kFloat);
  const Named whole = meta_weights_of(model);
  torch_save::Items items;
  std::string storage;
  int64_t items_before = 0, all = 0;
  for (const auto& [name, tensor] : whole)
    all += tensor.numel();
  for (const auto& [name, tensor] : whole) {
    // Matrices lie transposed in it.
    const at::Tensor kept = tensor.dim() == 2 ? tensor.t().contiguous() : tensor.contiguous();
    storage.append(static_cast<const char*>(kept.const_data_ptr()), kept.nbytes());
    std::vector<int64_t> strides = {1};
    if (tensor.dim() == 2) strides.push_back(tensor.size(0));
    items.emplace_back(name, torch_save::tensor({.items = all, .offset = items_before, .shape = tensor.sizes().vec(), .strides = strides}));
    items_before += tensor.numel();
  }
  const TemporaryFolder folder;
  write_text(folder / "params.json", kMetaParams.dump());
  write_text(folder / "consolidated.00.pth",
             torch_save::file(torch_save::pickle(torch_save::dictionary(items)), {{.name = "0", .data = storage}}));
  CHECK(digest(parameters(import_meta(folder.path()))) == digest(parameters(model)));
}

TEST_CASE("import: a head that is the embedding, or that is not there, is tied", "[policy]") {
  Llama model = model_of(at::kBFloat16);
  model.head = model.embedding.clone();
  Named equal = meta_weights_of(model), absent = equal;
  absent.erase(absent.begin() + 2);
  for (const Named& weights : {equal, absent}) {
    const TemporaryFolder folder;
    write_meta_folder(folder.path(), {weights});
    const Llama read = import_meta(folder.path());
    CHECK(read.config.tie_word_embeddings);
    CHECK(read.head.data_ptr() == read.embedding.data_ptr());
  }
}

TEST_CASE("import: Meta's files that do not fit each other or params.json are refused with the file's name", "[policy]") {
  const Named whole = meta_weights_of(model_of(at::kBFloat16));
  const Named first = half_of(whole, 0, 1), second = half_of(whole, 1, 1);
  const auto second_with = [&](auto change) {
    Named changed = second;
    change(changed);
    return meta_complaint({first, changed});
  };
  CHECK_THAT(second_with([](Named& all) { all[1].second = all[1].second + 1; }),
             ContainsSubstring("consolidated.01.pth: norm.weight differs from that of"));
  CHECK_THAT(second_with([](Named& all) { all[1].second = all[1].second.to(at::kHalf); }),
             ContainsSubstring("norm.weight differs from that of"));
  CHECK_THAT(second_with([](Named& all) { all.pop_back(); }),
             ContainsSubstring("consolidated.01.pth: lacks tensor layers.1.feed_forward.w3.weight"));
  CHECK_THAT(second_with([](Named& all) { all.emplace_back("more", at::ones({1})); }),
             ContainsSubstring("has tensors that consolidated.00.pth lacks"));
  CHECK_THAT(second_with([](Named& all) { all.back().second = at::ones({3}); }), ContainsSubstring("has another shape than"));
  // One file of two: the shapes are those of a part.
  CHECK_THAT(meta_complaint({first}), ContainsSubstring("tok_embeddings.weight must have 16 columns by params.json"));
  CHECK_THAT(meta_complaint({half_of(whole, 0, 0)}),
             ContainsSubstring("params.json: ") && ContainsSubstring("q_proj.weight must be [16, 16] by params.json, got [8, 16]"));
  Named unknown = whole, missing = whole;
  unknown.emplace_back("layers.0.attention.wq.bias", at::ones({16}));
  unknown.emplace_back("layers.0.attention.inner.wq.weight", at::ones({16, 16}));
  missing.erase(missing.begin());
  CHECK_THAT(meta_complaint({unknown}), ContainsSubstring("layers.0.attention.wq.bias belongs to no Llama") &&
                                            ContainsSubstring("inner.wq.weight belongs to no Llama"));
  CHECK_THAT(meta_complaint({missing}), ContainsSubstring("consolidated.00.pth: lacks tensor tok_embeddings.weight"));
  Named damaged = whole;
  damaged[1].second = at::full({16}, NAN);
  CHECK_THAT(meta_complaint({damaged}), ContainsSubstring("model.norm.weight holds NaN"));

  const TemporaryFolder folder;
  write_meta_folder(folder.path(), {first, second});
  std::filesystem::rename(folder / "consolidated.01.pth", folder / "consolidated.02.pth");
  CHECK_THROWS_WITH(import_meta(folder.path()), ContainsSubstring("consolidated.01.pth must stand before this file, but is not there"));
  const std::string bytes = keel::test::read_text(folder / "consolidated.00.pth");
  std::filesystem::remove(folder / "consolidated.02.pth");
  write_text(folder / "consolidated.00.pth", bytes.substr(0, bytes.size() - 30));
  CHECK_THROWS_WITH(import_meta(folder.path()), ContainsSubstring("consolidated.00.pth") && ContainsSubstring("fetch it again"));
  std::filesystem::remove(folder / "consolidated.00.pth");
  CHECK_THROWS_AS(import_meta(folder.path()), keel::core::UsageError);
}

TEST_CASE("import: params.json gives the shapes of the published models", "[policy]") {
  const auto shape = [](const json& params, int64_t vocabulary) { return read_meta_params(params, vocabulary, "params.json"); };
  // Figures of the models' Hugging Face folders.
  const json llama2_7b = {{"dim", 4096}, {"multiple_of", 256}, {"n_heads", 32}, {"n_layers", 32}, {"norm_eps", 1e-5}, {"vocab_size", -1}};
  LlamaConfig config = shape(llama2_7b, 32000);
  CHECK(config.intermediate_size == 11008);
  CHECK(config.num_key_value_heads == 32);
  CHECK(config.vocab_size == 32000);
  CHECK(config.max_position_embeddings == 4096);
  CHECK(config.rope_theta == 10000);
  const json llama2_70b = {{"dim", 8192},     {"multiple_of", 4096}, {"ffn_dim_multiplier", 1.3}, {"n_heads", 64},
                           {"n_kv_heads", 8}, {"n_layers", 80},      {"norm_eps", 1e-5},          {"vocab_size", -1}};
  CHECK(shape(llama2_70b, 32000).intermediate_size == 28672);
  json llama3_8b = {{"dim", 4096},
                    {"n_layers", 32},
                    {"n_heads", 32},
                    {"n_kv_heads", 8},
                    {"vocab_size", 128256},
                    {"multiple_of", 1024},
                    {"ffn_dim_multiplier", 1.3},
                    {"norm_eps", 1e-5},
                    {"rope_theta", 500000.0}};
  config = shape(llama3_8b, 128256);
  CHECK(config.intermediate_size == 14336);
  CHECK(config.max_position_embeddings == 8192);
  CHECK(config.rope_scaling.kind == RopeKind::none);
  llama3_8b["use_scaled_rope"] = true;
  config = shape(llama3_8b, 128256);
  CHECK(config.max_position_embeddings == 131072);
  CHECK(config.rope_scaling == keel::policy::RopeScaling{.kind = RopeKind::llama3, .factor = 8});
  const json llama32_1b = {
      {"dim", 2048},    {"ffn_dim_multiplier", 1.5}, {"multiple_of", 256},     {"n_heads", 32},           {"n_kv_heads", 8},
      {"n_layers", 16}, {"norm_eps", 1e-5},          {"rope_theta", 500000.0}, {"use_scaled_rope", true}, {"vocab_size", 128256}};
  config = shape(llama32_1b, 128256);
  CHECK(config.intermediate_size == 8192);
  CHECK(config.rope_scaling.factor == 32);
  json llama1 = llama2_7b;
  llama1["norm_eps"] = 1e-6;
  CHECK(shape(llama1, 32000).max_position_embeddings == 2048);
  json code = llama2_7b;
  code["rope_theta"] = 1000000;
  CHECK(shape(code, 32016).max_position_embeddings == 16384);
}

TEST_CASE("import: what params.json says that keel does not compute, or says wrongly, is refused by name", "[policy]") {
  const auto says = [](const json& changes) {
    try {
      read_meta_params(params_with(changes), 23, "m/params.json");
      return std::string();
    } catch (const DataError& error) {
      CHECK_THAT(error.what(), ContainsSubstring("m/params.json"));
      return std::string(error.what());
    }
  };
  CHECK(says(json::object()).empty());
  CHECK(says({{"max_batch_size", 4}, {"use_scaled_rope", false}, {"moe_args", nullptr}}).empty());
  const json unknown = json{{"vision_chunk_size", 448},   {"quantization_args", {{"scheme", "x"}}},
                            {"lora_args", {{"rank", 4}}}, {"sliding_window", 4096},
                            {"rope_scaling_factor", 16},  {"moe", {{"num_experts", 8}}}};
  for (const auto& [key, value] : unknown.items())
    CHECK_THAT(says({{key, value}}), ContainsSubstring("\"" + key + "\"") && ContainsSubstring("is not known to keel"));
  for (const char* key : {"dim", "n_layers", "n_heads", "multiple_of", "norm_eps"}) {
    CHECK_THAT(says({{key, nullptr}}), ContainsSubstring("\"" + std::string(key) + "\" is missing"));
    CHECK_THAT(says({{key, "many"}}), ContainsSubstring("\"" + std::string(key) + "\" must be"));
    CHECK_FALSE(says({{key, 0}}).empty());
    CHECK_FALSE(says({{key, -5}}).empty());
  }
  CHECK_FALSE(says({{"ffn_dim_multiplier", 1e300}}).empty());
  CHECK_FALSE(says({{"multiple_of", INT64_MAX}}).empty());
  CHECK_FALSE(says({{"n_kv_heads", 3}}).empty());
  CHECK_THAT(says({{"use_scaled_rope", 1}}), ContainsSubstring("must be true or false, got 1"));
  CHECK_THAT(says({{"vocab_size", 24}}), ContainsSubstring("vocab_size is 24, but tok_embeddings.weight has 23 rows"));
  CHECK_THAT(says({{"max_seq_len", nullptr}, {"rope_theta", 12345}}), ContainsSubstring("add \"max_seq_len\""));
  CHECK_THROWS_AS(read_meta_params(json::array(), 23, "p"), DataError);
}
