#include "policy/model_directory.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "policy/lively_model.h"
#include "policy/other_checkpoints.h"
#include "runtime/tensor_file.h"

using Catch::Matchers::ContainsSubstring;
using keel::core::DataError;
using keel::core::UsageError;
using keel::policy::Llama;
using keel::policy::LlamaConfig;
using keel::policy::load_llama;
using keel::runtime::digest;
using keel::runtime::NamedTensor;
using keel::runtime::Parameters;
using keel::test::TemporaryFolder;

namespace {

void write_config(const std::filesystem::path& folder, const LlamaConfig& config) {
  keel::test::write_text(folder / "config.json", keel::policy::to_hugging_face(config).dump());
}

void write_weights(const std::filesystem::path& folder, const Parameters& weights, const std::string& name = "model.safetensors") {
  keel::runtime::save_tensors(folder / name, weights, {{"format", "pt"}});
}

LlamaConfig tied_config() {
  LlamaConfig config = keel::test::lively_config();
  config.tie_word_embeddings = true;
  return config;
}

NamedTensor& named(Parameters& list, const std::string& name) {
  return *std::find_if(list.begin(), list.end(), [&](const NamedTensor& one) { return one.name == name; });
}

// The error message of loading a folder with this index.
std::string index_complaint(const nlohmann::json& index) {
  const TemporaryFolder folder;
  write_config(folder.path(), keel::test::lively_config());
  const Parameters all = parameters(keel::test::lively_llama());
  write_weights(folder.path(), {all.begin(), all.begin() + 12}, "a.safetensors");
  write_weights(folder.path(), {all.begin() + 11, all.end()}, "b.safetensors");
  keel::test::write_text(folder / "model.safetensors.index.json", index.dump());
  try {
    load_llama(folder.path());
    return "";
  } catch (const DataError& error) {
    return error.what();
  }
}

// Peak address space of this process.
int64_t peak_memory_kib() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    if (word != "VmPeak:") continue;
    int64_t kib = 0;
    status >> kib;
    return kib;
  }
  return 0;
}

}  // namespace

TEST_CASE("model directory: a saved model loads bit for bit, with what stands in config.json", "[policy]") {
  LlamaConfig config = keel::test::lively_config();
  config.tie_word_embeddings = GENERATE(false, true);
  config.head_dim = GENERATE(0, 6);
  config.rope_theta = 700;
  config.rms_norm_eps = 3e-6;
  const Llama model = keel::test::lively_llama(config);
  const TemporaryFolder folder;
  nlohmann::json extra = keel::policy::causal_model_json();
  extra["bos_token_id"] = 1;
  save_weights(folder / "m", model.config, parameters(model), extra);
  const Llama loaded = load_llama(folder / "m");
  CHECK(digest(parameters(loaded)) == digest(parameters(model)));
  CHECK(keel::policy::to_hugging_face(loaded.config) == keel::policy::to_hugging_face(model.config));
  CHECK((loaded.head.data_ptr() == loaded.embedding.data_ptr()) == config.tie_word_embeddings);
  const auto written = nlohmann::json::parse(keel::test::read_text(folder / "m/config.json"));
  CHECK(written["architectures"] == nlohmann::json{"LlamaForCausalLM"});
  CHECK(written["bos_token_id"] == 1);
}

TEST_CASE("model directory: shards are read through their index, half-precision weights as fp32, buffers ignored", "[policy]") {
  const Llama model = keel::test::lively_llama();
  Parameters all = parameters(model);
  for (auto& [name, tensor] : all)
    tensor = tensor.to(at::kBFloat16);
  nlohmann::json index;
  for (size_t i = 0; i < all.size(); ++i)
    index["weight_map"][all[i].name] = i < 9 ? "a.safetensors" : "b.safetensors";
  const TemporaryFolder folder;
  write_config(folder.path(), model.config);
  Parameters first(all.begin(), all.begin() + 9);
  first.push_back({"model.layers.0.self_attn.rotary_emb.inv_freq", at::ones({2})});
  write_weights(folder.path(), first, "a.safetensors");
  write_weights(folder.path(), {all.begin() + 9, all.end()}, "b.safetensors");
  keel::test::write_text(folder / "model.safetensors.index.json", index.dump());

  Parameters expected = parameters(model);
  for (auto& [name, tensor] : expected)
    tensor = tensor.to(at::kBFloat16).to(at::kFloat);
  CHECK(digest(parameters(load_llama(folder.path()))) == digest(expected));
}

TEST_CASE("model directory: what is only read keeps matrices of layers in bf16, and is saved as the fp32 model is", "[policy]") {
  const TemporaryFolder folder, first, second;
  Parameters weights = keel::policy::parameters(keel::test::lively_llama(keel::test::lively_config()));
  for (auto& [name, tensor] : weights)
    tensor = tensor.to(at::kBFloat16);
  write_config(folder.path(), keel::test::lively_config());
  write_weights(folder.path(), weights);
  const Llama frozen = load_llama(folder.path(), keel::policy::Precision::frozen), wide = load_llama(folder.path());
  for (const auto& [name, tensor] : keel::policy::parameters(frozen)) {
    INFO(name);
    const bool matrix = name.starts_with("model.layers.") && tensor.dim() == 2;
    CHECK(tensor.scalar_type() == (matrix ? at::kBFloat16 : at::kFloat));
  }
  CHECK(digest(keel::policy::parameters(keel::policy::frozen_copy(frozen))) == digest(keel::policy::parameters(wide)));
  keel::policy::save_weights(first.path(), frozen.config, keel::policy::parameters(frozen), keel::policy::causal_model_json());
  keel::policy::save_weights(second.path(), wide.config, keel::policy::parameters(wide), keel::policy::causal_model_json());
  CHECK(keel::test::read_text(first / "model.safetensors") == keel::test::read_text(second / "model.safetensors"));
  CHECK(keel::test::read_text(first / "config.json") == keel::test::read_text(second / "config.json"));
}

TEST_CASE("model directory: a broken index is bad input", "[policy]") {
  CHECK_THAT(index_complaint({{"weights", 1}}), ContainsSubstring("\"weight_map\" must be an object"));
  CHECK_THAT(index_complaint(nlohmann::json::array()), ContainsSubstring("\"weight_map\" must be an object"));
  CHECK_THAT(index_complaint({{"weight_map", {{"w", 3}}}}), ContainsSubstring("weight_map[\"w\"] must be a file name"));
  CHECK_THAT(index_complaint({{"weight_map", {{"w", "../a.safetensors"}}}}), ContainsSubstring("must be a file name in this folder"));
  CHECK_THAT(index_complaint({{"weight_map", {{"w", "c.safetensors"}}}}), ContainsSubstring("names c.safetensors, which is not there"));
  CHECK_THAT(index_complaint({{"weight_map", {{"v", "a.safetensors"}, {"w", "b.safetensors"}}}}),
             ContainsSubstring("stands in another shard too"));
  CHECK_THAT(index_complaint({{"weight_map", {{"v", "a.safetensors"}}}}), ContainsSubstring("model.norm.weight is missing"));
}

TEST_CASE("model directory: with tied embeddings either matrix may be absent", "[policy]") {
  const Llama model = keel::test::lively_llama(tied_config());
  const Parameters embedding_only = parameters(model);
  Parameters head_only = embedding_only, both = embedding_only, different = embedding_only;
  named(head_only, "model.embed_tokens.weight").name = "lm_head.weight";
  both.push_back({"lm_head.weight", model.embedding});
  different.push_back({"lm_head.weight", model.embedding + 1});
  const TemporaryFolder folder;
  write_config(folder.path(), model.config);
  for (const auto& weights : {embedding_only, head_only, both}) {
    write_weights(folder.path(), weights);
    const Llama loaded = load_llama(folder.path());
    CHECK(digest(parameters(loaded)) == digest(parameters(model)));
    CHECK(loaded.head.data_ptr() == loaded.embedding.data_ptr());
  }
  write_weights(folder.path(), different);
  CHECK_THROWS_WITH(load_llama(folder.path()), ContainsSubstring("lm_head.weight differs from embed_tokens.weight"));
}

TEST_CASE("model directory: missing, unknown, misshapen and mistyped tensors are all named at once", "[policy]") {
  const Llama model = keel::test::lively_llama();
  Parameters weights = parameters(model);
  named(weights, "model.norm.weight").name = "model.norm.bias";
  named(weights, "lm_head.weight").tensor = at::zeros({23, 17});
  named(weights, "model.layers.1.mlp.up_proj.weight").tensor = at::zeros({24, 16}, at::kInt);
  const TemporaryFolder folder;
  write_config(folder.path(), model.config);
  write_weights(folder.path(), weights);
  try {
    load_llama(folder.path());
    FAIL("accepted");
  } catch (const DataError& error) {
    CHECK_THAT(error.what(), ContainsSubstring("model.safetensors") && ContainsSubstring("model.norm.weight is missing") &&
                                 ContainsSubstring("model.norm.bias belongs to no Llama") &&
                                 ContainsSubstring("lm_head.weight must be [23, 16] by config.json, got [23, 17]") &&
                                 ContainsSubstring("up_proj.weight must hold floating-point numbers, got Int"));
  }
}

TEST_CASE("model directory: a long list of problems is cut, with its length", "[policy]") {
  const Llama model = keel::test::lively_llama();
  CHECK_THROWS_WITH(keel::policy::assemble(model.config, {}, "x.gguf"), ContainsSubstring("x.gguf") && ContainsSubstring("and 13 more"));
}

TEST_CASE("model directory: a folder with weights of another form says what is there and what to do", "[policy]") {
  struct Case {
    std::string name, says;
  };
  const auto [name, says] =
      GENERATE(Case{"pytorch_model.bin", "PyTorch weights (pytorch_model.bin)"},
               Case{"consolidated.00.pth", "Meta's own weights (consolidated.00.pth) without params.json: fetch that file too"},
               Case{"model.onnx", "an ONNX graph"}, Case{"tf_model.h5", "TensorFlow"}, Case{"flax_model.msgpack", "Flax"},
               Case{"model.Q8_0.gguf", "keel convert"}, Case{"model-00001-of-00002.safetensors", "without model.safetensors.index.json"},
               Case{"weights.safetensors", "rename it"}, Case{"adapter_config.json", "is an adapter"});
  const TemporaryFolder folder;
  keel::test::write_text(folder / name, name.ends_with(".json") ? R"({"base_model_name_or_path": "some/model"})" : "x");
  CHECK_THROWS_WITH(load_llama(folder.path()), ContainsSubstring("holds no config.json") && ContainsSubstring(says));
  write_config(folder.path(), keel::test::lively_llama().config);
  CHECK_THROWS_WITH(load_llama(folder.path()), ContainsSubstring("holds no model.safetensors") && ContainsSubstring(says));
  CHECK_THROWS_AS(load_llama(folder.path()), UsageError);
}

TEST_CASE("model directory: Meta's folder is named, with the command that reads it", "[policy]") {
  const TemporaryFolder folder;
  keel::test::write_text(folder / "consolidated.00.pth", "PK\x03\x04");
  keel::test::write_text(folder / "params.json", "{}");
  CHECK_THROWS_WITH(load_llama(folder.path()),
                    ContainsSubstring("Meta's own weights (consolidated.00.pth): make a model folder of them (keel convert "));
}

TEST_CASE("model directory: a file of another form is named, with what to do", "[policy]") {
  const TemporaryFolder folder;
  const auto complaint = [&](const std::string& name, const std::string& bytes) {
    keel::test::write_text(folder / name, bytes);
    try {
      keel::policy::refuse_other_checkpoint(folder / name);
      return std::string();
    } catch (const keel::core::Error& error) {
      return std::string(error.what());
    }
  };
  CHECK_THAT(complaint("consolidated.00.pth", "PK\x03\x04"), ContainsSubstring("name the folder that holds it with its params.json"));
  CHECK_THAT(complaint("pytorch_model.bin", "\x80\x02"), ContainsSubstring("PyTorch weights"));
  CHECK_THAT(complaint("other.bin", "PK\x03\x04"), ContainsSubstring("torch.save"));
  CHECK_THAT(complaint("m.onnx", "x"), ContainsSubstring("an ONNX graph"));
  CHECK_THAT(complaint("model.safetensors", "x"), ContainsSubstring("name the folder"));
  CHECK_THAT(complaint("m.gguf", "version https://git-lfs.github.com/spec/v1"), ContainsSubstring("is a Git LFS pointer"));
  CHECK(complaint("m.gguf", "GGUF").empty());
  CHECK(complaint("stories.bin", std::string(28, '\1')).empty());
}

TEST_CASE("model directory: folders without a model are usage errors, cut files bad input", "[policy]") {
  const TemporaryFolder folder;
  CHECK_THROWS_AS(load_llama(folder / "none"), UsageError);
  CHECK_THROWS_AS(load_llama(folder.path()), UsageError);
  const Llama model = keel::test::lively_llama();
  write_config(folder.path(), model.config);
  CHECK_THROWS_WITH(load_llama(folder.path()), ContainsSubstring("fetch the weights of the model too"));
  write_weights(folder.path(), parameters(model));
  const std::string bytes = keel::test::read_text(folder / "model.safetensors");
  for (const size_t length : {size_t{0}, size_t{7}, size_t{100}, bytes.size() / 2, bytes.size() - 1}) {
    keel::test::write_text(folder / "model.safetensors", bytes.substr(0, length));
    CHECK_THROWS_AS(load_llama(folder.path()), DataError);
  }
  keel::test::write_text(folder / "config.json", "{\"model_type\": \"llama\"");
  CHECK_THROWS_AS(load_llama(folder.path()), DataError);
}

TEST_CASE("model directory: a config.json that lies about its size allocates nothing", "[policy]") {
  LlamaConfig config = keel::test::lively_config();
  const TemporaryFolder folder;
  write_weights(folder.path(), parameters(keel::test::lively_llama()));
  config.hidden_size = 1 << 16;
  config.intermediate_size = 1 << 18;
  config.num_hidden_layers = 100;
  write_config(folder.path(), config);
  const int64_t before = peak_memory_kib();
  CHECK_THROWS_WITH(load_llama(folder.path()), ContainsSubstring("must be [23, 65536] by config.json, got [23, 16]"));
  CHECK(peak_memory_kib() - before < 1 << 20);  // the weights would take 25 TB
}

TEST_CASE("model directory: a classifier needs its head, and a left-over language-model head is ignored", "[policy]") {
  const Llama model = keel::test::lively_llama();
  const TemporaryFolder folder;
  write_config(folder.path(), model.config);
  Parameters weights = parameters(model);
  write_weights(folder.path(), weights);
  CHECK_THROWS_WITH(keel::policy::load_classifier(folder.path()), ContainsSubstring("score.weight is missing"));
  weights.push_back({"score.weight", at::ones({2, 16})});
  write_weights(folder.path(), weights);
  CHECK_THROWS_WITH(keel::policy::load_classifier(folder.path()), ContainsSubstring("score.weight must be [1, 16]"));
  weights.back().tensor = at::full({1, 16}, 3.);
  write_weights(folder.path(), weights);
  const auto loaded = keel::policy::load_classifier(folder.path());
  CHECK_CLOSE(loaded.score, at::full({1, 16}, 3.), 0);
  CHECK(digest(parameters(loaded.backbone)) == digest(parameters(keel::policy::backbone_of(model))));
}

TEST_CASE("model directory: interleaved rows go into the rotate-half order within each head", "[policy]") {
  const at::Tensor rows = at::arange(8, at::kFloat).unsqueeze(1);  // two heads of width 4: pairs (0 1) (2 3), (4 5) (6 7)
  CHECK_CLOSE(keel::policy::rotate_half_rows(rows, 2).squeeze(1), keel::test::tensor({0, 2, 1, 3, 4, 6, 5, 7}), 0);
}
