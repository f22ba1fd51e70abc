#include "policy/lora.h"

#include <ATen/core/grad_mode.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "policy/generate.h"
#include "policy/logprobs.h"
#include "runtime/tensor_file.h"
#include "support/tiny_model.h"

using namespace keel::policy;
using keel::test::tiny_llama;

namespace {

const std::vector<std::string> kAll = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"};
const keel::core::Ids kIds = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3};

// tools/oracle/lora_reference.py: element i of the k-th adapter tensor is 0.2 sin(0.9 i + k).
Llama adapted_by_formula() {
  Llama model = with_lora(tiny_llama(), {.rank = 2, .alpha = 6, .target_modules = kAll}, 1, "test");
  const auto tensors = lora_parameters(model);
  for (size_t k = 0; k < tensors.size(); ++k) {
    const at::Tensor i = at::arange(tensors[k].tensor.numel(), at::kDouble);
    tensors[k].tensor.copy_((.2 * (.9 * i + static_cast<double>(k)).sin()).view(tensors[k].tensor.sizes()));
  }
  return model;
}

at::Tensor all_logits(const Llama& model) {
  const at::NoGradGuard no_grad;
  return logits_of(model, hidden_states(model, keel::runtime::pad_right({kIds})))[0];
}

}  // namespace

TEST_CASE("lora: fresh adapters change nothing: A is uniform within 1/sqrt(in), B is 0", "[policy]") {
  const Llama base = tiny_llama();
  const Llama model = with_lora(base, {.rank = 3, .alpha = 6, .target_modules = {"q_proj", "down_proj"}}, 5, "test");
  const auto tensors = lora_parameters(model);
  REQUIRE(tensors.size() == 8);
  CHECK(tensors[0].name == "model.layers.0.self_attn.q_proj.lora_A.weight");
  CHECK(tensors[3].name == "model.layers.0.mlp.down_proj.lora_B.weight");
  CHECK(tensors[2].tensor.sizes().vec() == std::vector<int64_t>{3, 12});
  CHECK(tensors[3].tensor.sizes().vec() == std::vector<int64_t>{8, 3});
  for (size_t i = 0; i < tensors.size(); i += 2) {
    const at::Tensor& a = tensors[i].tensor;
    const double bound = 1 / std::sqrt(static_cast<double>(a.size(1)));
    CHECK(a.abs().max().item<double>() <= bound);
    CHECK(a.abs().max().item<double>() > .7 * bound);
    CHECK(tensors[i + 1].tensor.abs().max().item<double>() == 0);
  }
  CHECK_FALSE(tensors[0].tensor.equal(tensors[4].tensor));  // a stream each
  CHECK(all_logits(model).equal(all_logits(base)));
  CHECK(model.layers[0].q.data_ptr() == base.layers[0].q.data_ptr());
  const Llama other = with_lora(base, {.rank = 3, .alpha = 6, .target_modules = {"q_proj"}}, 5, "other");
  CHECK_FALSE(other.layers[0].adapters.q.a.equal(model.layers[0].adapters.q.a));
}

TEST_CASE("lora: an adapted model computes what PEFT's does, merged or not", "[policy]") {
  const Llama model = adapted_by_formula(), plain = merged(model);
  const at::Tensor expected =
      keel::test::tensor({.156326, .729113, -.974367, .364096, .565863, -.998977, .554958, .376332, -.97719, .720045, .169322});
  CHECK_CLOSE(all_logits(model)[9], expected, 1e-5);
  CHECK_CLOSE(all_logits(plain)[9], expected, 1e-5);
  CHECK(lora_parameters(plain).empty());
  CHECK(keel::test::largest_difference(all_logits(without_lora(model))[9], expected) > .1);
  CHECK(all_logits(without_lora(model)).equal(all_logits(tiny_llama())));
}

TEST_CASE("lora: generation uses the adapters, and the log-probs that it records are those of the trainer's forward pass", "[policy]") {
  const Llama model = adapted_by_formula();
  const keel::policy::GenerationJob job{
      .prompts = {{1, 2}, {3}}, .samples = 2, .sampling = {.max_new_tokens = 9}, .stop_ids = {10}, .seed = 4};
  const auto answers = generate(model, job), of_base = generate(without_lora(model), job);
  bool differs = false;
  for (size_t i = 0; i < answers.size(); ++i) {
    keel::core::Ids row = i < 2 ? keel::core::Ids{1, 2} : keel::core::Ids{3};
    const size_t prompt = row.size();
    row.insert(row.end(), answers[i].ids.begin(), answers[i].ids.end());
    const auto logprobs = sequence_logprobs(model, {row})[0], of_merged = sequence_logprobs(merged(model), {row})[0];
    for (size_t t = 0; t < answers[i].ids.size(); ++t) {
      CHECK(logprobs[prompt - 1 + t] == answers[i].logprobs[t]);
      CHECK(of_merged[prompt - 1 + t] == Catch::Approx(answers[i].logprobs[t]).margin(1e-5));
    }
    differs = differs || answers[i].logprobs != of_base[i].logprobs;
  }
  CHECK(differs);
}

TEST_CASE("lora: fresh adapters on a model that has some start from what it computes, and leave it as it is", "[policy]") {
  const Llama first = adapted_by_formula();
  const at::Tensor before = all_logits(first);
  const Llama second = with_lora(first, {.rank = 1, .target_modules = {"v_proj"}}, 1, "test");
  CHECK_CLOSE(all_logits(second), before, 1e-5);
  CHECK(lora_parameters(second).size() == 4);
  CHECK(second.embedding.data_ptr() == first.embedding.data_ptr());
  CHECK(all_logits(first).equal(before));
  Llama half = first;
  half.layers[0].q = half.layers[0].q.to(at::kBFloat16);
  CHECK(merged(half).layers[0].q.scalar_type() == at::kFloat);
  CHECK_CLOSE(merged(half).layers[0].q, merged(first).layers[0].q, 2e-2);
}

TEST_CASE("lora: a frozen copy copies the adapters too", "[policy]") {
  const Llama model = adapted_by_formula(), copy = frozen_copy(model);
  CHECK(copy.layers[0].adapters.q.a.equal(model.layers[0].adapters.q.a));
  CHECK(copy.layers[0].adapters.q.a.data_ptr() != model.layers[0].adapters.q.a.data_ptr());
  CHECK(all_logits(copy).equal(all_logits(model)));
}

TEST_CASE("lora: a saved adapter has PEFT's names and settings and comes back as it was", "[policy]") {
  const keel::test::TemporaryFolder folder;
  const Llama model = adapted_by_formula();
  save_lora(folder / "adapter", model, {.rank = 2, .alpha = 6, .target_modules = kAll});
  const auto file = keel::runtime::load_tensors(folder / "adapter/adapter_model.safetensors");
  CHECK(file.tensors.size() == 28);
  CHECK(file.tensors.contains("base_model.model.model.layers.1.mlp.gate_proj.lora_B.weight"));
  const auto settings = nlohmann::json::parse(keel::test::read_text(folder / "adapter/adapter_config.json"));
  CHECK(settings["peft_type"] == "LORA");
  CHECK(settings["r"] == 2);
  CHECK(settings["lora_alpha"] == 6);
  CHECK(all_logits(load_lora(folder / "adapter", tiny_llama())).equal(all_logits(model)));
  CHECK_THROWS_AS(save_lora(folder / "none", tiny_llama(), {.rank = 2}), c10::Error);
}

TEST_CASE("lora: an adapter for sequence classification brings its scalar head, and computes what the merged model does", "[policy]") {
  const keel::test::TemporaryFolder folder;
  const Llama model = adapted_by_formula();
  save_lora(folder.path(), model, {.rank = 2, .alpha = 6, .target_modules = kAll});
  auto file = keel::runtime::load_tensors(folder / "adapter_model.safetensors");
  const at::Tensor head = at::arange(8, at::kFloat).view({1, 8}) - 3;
  keel::runtime::Parameters tensors;
  for (const auto& [name, tensor] : file.tensors)
    tensors.push_back({name, tensor.clone()});
  CHECK_THROWS_WITH(load_lora_classifier(folder.path(), tiny_llama()), Catch::Matchers::ContainsSubstring("score.weight is missing"));
  tensors.push_back({"base_model.model.score.weight", head});
  keel::runtime::save_tensors(folder / "adapter_model.safetensors", tensors, {{"format", "pt"}});
  auto config = nlohmann::json::parse(keel::test::read_text(folder / "adapter_config.json"));
  config["task_type"] = "SEQ_CLS", config["modules_to_save"] = {"classifier", "score"};
  keel::test::write_text(folder / "adapter_config.json", config.dump());
  const Classifier loaded = load_lora_classifier(folder.path(), tiny_llama());
  CHECK(loaded.score.equal(head));
  const at::NoGradGuard no_grad;
  const auto batch = keel::runtime::pad_right({{3, 1, 4, 1, 5}, {9, 2}});
  CHECK_CLOSE(hidden_states(loaded.backbone, batch)[0], hidden_states(merged(model), batch)[0], 1e-5);
  const Llama base = tiny_llama();  // two adapters share their base
  CHECK(load_lora_classifier(folder.path(), base).backbone.layers[0].q.data_ptr() ==
        load_lora_classifier(folder.path(), base).backbone.layers[0].q.data_ptr());
  CHECK_THROWS_WITH(load_lora(folder.path(), tiny_llama()), Catch::Matchers::ContainsSubstring("modules_to_save"));
}

TEST_CASE("lora: adapters that do not fit, or that keel would compute wrongly, are refused", "[policy]") {
  const keel::test::TemporaryFolder folder;
  const Llama model = adapted_by_formula();
  save_lora(folder.path(), model, {.rank = 2, .alpha = 6, .target_modules = kAll});
  const auto config = nlohmann::json::parse(keel::test::read_text(folder / "adapter_config.json"));
  const auto refused = [&](const char* key, const nlohmann::json& value) {
    nlohmann::json changed = config;
    changed[key] = value;
    keel::test::write_text(folder / "adapter_config.json", changed.dump());
    CHECK_THROWS_AS(load_lora(folder.path(), tiny_llama()), keel::core::DataError);
  };
  refused("peft_type", "IA3");
  refused("bias", "all");
  refused("use_dora", true);
  refused("use_rslora", true);
  refused("modules_to_save", {"lm_head"});
  refused("alora_invocation_tokens", {1, 2});  // adapters that act behind these ids alone
  refused("trainable_token_indices", {3});
  refused("init_lora_weights", "pissa");
  refused("a_later_method", 1);
  refused("rank_pattern", {{"q_proj", 4}});
  refused("r", 3);  // other shapes than the file's
  refused("r", 0);
  refused("target_modules", {"q_proj"});  // tensors that belong to no adapter
  refused("target_modules", {"qkv"});
  refused("target_modules", "all-linear");
  keel::test::write_text(folder / "adapter_config.json", config.dump());
  CHECK_NOTHROW(load_lora(folder.path(), tiny_llama()));
  auto by_peft = config;  // as PEFT 0.21 writes it
  by_peft.update({{"auto_mapping", nullptr},
                  {"peft_version", "0.21.2"},
                  {"init_lora_weights", "gaussian"},
                  {"layers_pattern", nullptr},
                  {"loftq_config", nlohmann::json::object()},
                  {"megatron_core", "megatron.core"},
                  {"qalora_group_size", 16},
                  {"lora_dropout", 0.1},
                  {"use_bdlora", nullptr},
                  {"ensure_weight_tying", false},
                  {"rank_pattern", nlohmann::json::object()}});
  keel::test::write_text(folder / "adapter_config.json", by_peft.dump());
  CHECK_NOTHROW(load_lora(folder.path(), tiny_llama()));
  CHECK_THROWS_AS(with_lora(tiny_llama(), {}, 1, "test"), keel::core::ConfigError);
  CHECK_THROWS_AS(with_lora(tiny_llama(), {.rank = 1000000000000}, 1, "test"), keel::core::ConfigError);
  CHECK(problems_of(LoraConfig{}).empty());
  CHECK(problems_of(LoraConfig{.rank = 1, .target_modules = {}}).size() == 1);
}
