// The folder of a PEFT adapter where a model folder is expected.
#include "support/test.h"  // before all else: it says why

#include <set>

#include "core/error.h"
#include "inference/model_folder.h"
#include "pipelines/cli/keel_binary.h"
#include "policy/base_model.h"
#include "policy/logprobs.h"
#include "runtime/parameters.h"

namespace keel::inference {
namespace {

using Catch::Matchers::ContainsSubstring;
using test::Workplace;

const policy::LoraConfig kLora = {.rank = 2, .alpha = 6, .target_modules = {"q_proj", "down_proj"}};
const core::Ids kIds = {1, 80, 17, 200, 5, 44};

policy::Llama adapted(const policy::Llama& base, double phase) {
  policy::Llama model = policy::with_lora(base, kLora, 1, "test");
  for (const auto& [name, tensor] : policy::lora_parameters(model))
    tensor.copy_((.2 * (.9 * at::arange(tensor.numel(), at::kDouble) + phase).sin()).view(tensor.sizes()));
  return model;
}

void name_base(const Workplace& work, const std::string& folder, const nlohmann::json& base) {
  nlohmann::json config = test::json_in(work, folder + "/adapter_config.json");
  config["base_model_name_or_path"] = base;
  work.write(folder + "/adapter_config.json", config.dump());
}

// A language model's adapter in FOLDER.
policy::Llama write_adapter(const Workplace& work, const std::string& folder, const nlohmann::json& base, double phase = 0) {
  const policy::Llama model = adapted(policy::load_llama(work / "model"), phase);
  policy::save_lora(work / folder, model, kLora);
  name_base(work, folder, base);
  return model;
}

void write_reward_adapter(const Workplace& work, const std::string& folder, const nlohmann::json& base, double phase = 0) {
  const policy::Llama model = adapted(policy::load_llama(work / "model"), phase);
  policy::save_lora_classifier(work / folder, {policy::backbone_of(model), at::arange(test::kTinyWidth, at::kFloat).view({1, -1})}, kLora);
  name_base(work, folder, base);
}

std::vector<float> logprobs(const policy::Llama& model) {
  return policy::sequence_logprobs(model, {kIds})[0];
}

std::string digest_of(const std::filesystem::path& folder) {
  core::DigestCache digests;
  return model_digest(folder, digests);
}

const void* address(const at::Tensor& tensor) {
  return tensor.const_data_ptr();
}

}  // namespace

TEST_CASE("adapters: a folder is loaded on the base that it names, from there or from here, or on the one given", "[inference]") {
  const Workplace work;
  const auto expected = logprobs(write_adapter(work, "adapter", "../model"));
  CHECK(logprobs(load_language_model(work / "adapter").llama) == expected);
  CHECK(logprobs(load_language_model(work / "model").llama) != expected);
  name_base(work, "adapter", (work / "model").string());
  CHECK(logprobs(load_language_model(work / "adapter").llama) == expected);
  CHECK(policy::base_of(work / "adapter") == work / "model");
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(work.path());
  name_base(work, "adapter", "model");  // no folder inside the adapter's, one here
  CHECK(logprobs(load_language_model("adapter").llama) == expected);
  std::filesystem::current_path(before);

  name_base(work, "adapter", "meta-llama/Llama-2-7b");
  CHECK_THROWS_WITH(load_language_model(work / "adapter"), ContainsSubstring("meta-llama/Llama-2-7b") && ContainsSubstring("--base DIR"));
  name_base(work, "adapter", nullptr);
  CHECK_THROWS_WITH(load_language_model(work / "adapter"), ContainsSubstring("names no base model") && ContainsSubstring("--base DIR"));
  policy::use_base(work / "model");
  CHECK(logprobs(load_language_model(work / "adapter").llama) == expected);
  policy::use_base(work / "nowhere");
  CHECK_THROWS_WITH(load_language_model(work / "adapter"), ContainsSubstring("nowhere is no model folder"));
  policy::use_base({});
  name_base(work, "adapter", ".");
  CHECK_THROWS_WITH(load_language_model(work / "adapter"), ContainsSubstring("is the adapter itself"));
  write_adapter(work, "second", "../adapter");
  CHECK_THROWS_WITH(load_language_model(work / "second"), ContainsSubstring("is an adapter too") && ContainsSubstring("keel convert"));
}

TEST_CASE("adapters: one for another shape, and one that keel would compute wrongly, are refused with their files", "[inference]") {
  const Workplace work;
  write_adapter(work, "adapter", "../model");
  nlohmann::json narrow = test::json_in(work, "adapter/adapter_config.json");
  for (const auto& [key, value] : {std::pair<std::string, nlohmann::json>{"r", 3}, {"use_dora", true}, {"bias", "lora_only"}}) {
    nlohmann::json changed = narrow;
    changed[key] = value;
    work.write("adapter/adapter_config.json", changed.dump());
    CHECK_THROWS_WITH(load_language_model(work / "adapter"), ContainsSubstring((work / "adapter/adapter_").string()));
    CHECK_THROWS_AS(load_language_model(work / "adapter"), core::DataError);
  }
  policy::LlamaConfig wide = policy::load_llama(work / "model").config;
  wide.hidden_size *= 2;
  policy::save_lora(work / "wide", policy::with_lora(policy::make_llama(wide, 1), kLora, 1, "test"), kLora);
  name_base(work, "wide", "../model");
  CHECK_THROWS_WITH(load_language_model(work / "wide"), ContainsSubstring("wide/adapter_model.safetensors") &&
                                                            ContainsSubstring("q_proj.lora_A.weight must be floating-point [2, 8]"));
  CHECK_THROWS_WITH(load_scoring_model(work / "wide"), ContainsSubstring("score.weight is missing"));
  write_reward_adapter(work, "scorer", "../model");
  CHECK_THROWS_WITH(load_language_model(work / "scorer"), ContainsSubstring("is it a reward model's adapter?"));
}

TEST_CASE("adapters: tokenizer, chat format, stops and limit are the adapter's where it has them, else its base's", "[inference]") {
  const Workplace work;
  write_adapter(work, "adapter", "../model");
  nlohmann::json keel = test::json_in(work, "model/keel.json");
  keel["limit"] = {{"max_tokens", 33}, {"drop_oldest_turns", false}};
  work.write("model/keel.json", keel.dump());
  work.write("model/generation_config.json", R"({"eos_token_id": [2, 7]})");
  const LanguageModel plain = load_language_model(work / "adapter");
  CHECK(plain.format == load_language_model(work / "model").format);
  CHECK(plain.limit.max_tokens == 33);
  CHECK(plain.tokenizer->encode("the boat") == load_language_model(work / "model").tokenizer->encode("the boat"));
  CHECK(plain.tokenizer->stops() == core::Ids{7});
  CHECK_NOTHROW(require_same_text(work / "adapter", work / "model"));
  copy_tokenizer(work / "adapter", work / "copied");
  for (const char* name : {"tokenizer.model", "generation_config.json"})
    CHECK(work.read(std::string("copied/") + name) == work.read(std::string("model/") + name));

  work.write("adapter/keel.json", R"({"keel": "0.1.0", "chat_format": "chatml", "limit": {"max_tokens": 21}})");
  CHECK(load_language_model(work / "adapter").format.name == "chatml");
  CHECK(load_language_model(work / "adapter").limit.max_tokens == 21);
  CHECK_THROWS_AS(require_same_text(work / "adapter", work / "model"), core::DataError);

  // A tokenizer of its own is not mixed with the base's, but an answer still ends where the base says.
  std::filesystem::copy_file(work / "tokenizer.model", work / "adapter/tokenizer.model");
  work.write("model/tokenizer_config.json", R"({"add_bos_token": false})");
  const auto own = load_tokenizer(work / "adapter");
  CHECK(own->adds_bos());
  CHECK_FALSE(load_tokenizer(work / "model")->adds_bos());
  CHECK(own->stops() == core::Ids{7});
  copy_tokenizer(work / "adapter", work / "second_copy");
  CHECK_FALSE(work.has("second_copy/tokenizer_config.json"));
  CHECK(work.has("second_copy/generation_config.json"));
  work.write("adapter/generation_config.json", R"({"eos_token_id": [2, 9]})");
  CHECK(load_tokenizer(work / "adapter")->stops() == core::Ids{9});
}

TEST_CASE("adapters: the digest changes with the adapter and with its base, and not with the base's place", "[inference]") {
  const Workplace work;
  write_adapter(work, "adapter", nullptr);
  policy::use_base(work / "model");
  const std::string first = digest_of(work / "adapter");
  CHECK(first != digest_of(work / "model"));
  std::filesystem::copy(work / "model", work / "moved");
  policy::use_base(work / "moved");
  CHECK(digest_of(work / "adapter") == first);
  std::set<std::string> all = {first};
  nlohmann::json config = test::json_in(work, "adapter/adapter_config.json");
  config["lora_alpha"] = 7;
  work.write("adapter/adapter_config.json", config.dump());
  all.insert(digest_of(work / "adapter"));
  policy::save_lora(work / "adapter", adapted(policy::load_llama(work / "model"), 1), kLora);
  all.insert(digest_of(work / "adapter"));
  work.write("moved/keel.json", R"({"keel": "0.1.0", "chat_format": "chatml"})");
  all.insert(digest_of(work / "adapter"));
  CHECK(all.size() == 4);
  policy::use_base({});
}

TEST_CASE("adapters: everything on one base shares its weights, and only that; weights of one's own share nothing", "[inference]") {
  const Workplace work;
  const bool in_bf16 = GENERATE(false, true);  // a base whose matrices stay so
  if (in_bf16) {
    policy::Llama narrow = policy::load_llama(work / "model");
    policy::cast_weights(narrow, "bfloat16", work / "model");
    policy::save_weights(work / "model", narrow.config, policy::parameters(narrow), policy::causal_model_json());
    REQUIRE(load_language_model(work / "model").llama.layers[0].q.scalar_type() == at::kBFloat16);
  }
  write_adapter(work, "policy", "../model");
  write_reward_adapter(work, "helpfulness", "../model", 1);
  write_reward_adapter(work, "safety", "../model", 2);
  std::filesystem::create_directory_symlink(work / "model", work / "link");
  write_adapter(work, "linked", "../link", 3);
  const LanguageModel base = load_language_model(work / "model");
  const void* shared = address(base.llama.layers[1].up);
  {
    const LanguageModel policy = load_language_model(work / "policy"), linked = load_language_model(work / "linked");
    const ScoringModel helpfulness = load_scoring_model(work / "helpfulness"), safety = load_scoring_model(work / "safety");
    for (const policy::Llama* model : {&policy.llama, &linked.llama, &helpfulness.weights->backbone, &safety.weights->backbone}) {
      CHECK(address(model->layers[1].up) == shared);
      CHECK(address(model->layers[0].q) == address(base.llama.layers[0].q));
      CHECK(address(model->embedding) == address(base.llama.embedding));
    }
    CHECK(address(policy.llama.layers[0].adapters.q.a) != address(linked.llama.layers[0].adapters.q.a));
    CHECK(helpfulness.score({kIds}) != safety.score({kIds}));
    const LanguageModel own = load_language_model(work / "policy", {}, Weights::own);
    CHECK(address(own.llama.layers[1].up) != shared);
    CHECK(policy::lora_parameters(own.llama).empty());
    for (size_t i = 0; i < logprobs(own.llama).size(); ++i)
      CHECK(logprobs(own.llama)[i] == Catch::Approx(logprobs(policy.llama)[i]).margin(1e-5));
  }
  // A reward model's adapter first: the language model that follows adds the head alone.
  const ScoringModel scorer = load_scoring_model(work / "safety");
  CHECK(address(load_language_model(work / "policy").llama.layers[0].k) == address(scorer.weights->backbone.layers[0].k));
  // Equal weights in other files are held once too: of a merged adapter all but the projections that it changed.
  std::filesystem::copy(work / "model", work / "twin");
  write_adapter(work, "other", "../twin");
  CHECK(address(load_language_model(work / "other").llama.layers[1].up) == shared);
  if (!in_bf16) CHECK(address(load_scoring_model(work / "reward").weights->backbone.layers[1].up) == shared);  // one in fp32
  const LanguageModel policy = load_language_model(work / "policy");
  save_language_model(work / "merged", policy.llama, work / "model", policy.format, {});
  const LanguageModel merged = load_language_model(work / "merged");
  CHECK(address(merged.llama.layers[1].up) == shared);
  CHECK(address(merged.llama.layers[1].q) != address(base.llama.layers[1].q));
  CHECK_FALSE(merged.llama.layers[1].q.equal(base.llama.layers[1].q));
}

TEST_CASE("adapters: a folder that is written from an adapter holds the merged model, with all that its text needs", "[inference]") {
  const Workplace work;
  const auto expected = logprobs(write_adapter(work, "adapter", "../model"));
  const LanguageModel model = load_language_model(work / "adapter");
  save_language_model(work / "merged", model.llama, work / "adapter", model.format, {{"stage", "test"}}, model.limit);
  const LanguageModel merged = load_language_model(work / "merged");
  CHECK(policy::lora_parameters(merged.llama).empty());
  for (size_t i = 0; i < expected.size(); ++i)
    CHECK(logprobs(merged.llama)[i] == Catch::Approx(expected[i]).margin(1e-5));
  CHECK(merged.tokenizer->encode("the boat") == model.tokenizer->encode("the boat"));
  write_reward_adapter(work, "scorer", "../model");
  const ScoringModel scorer = load_scoring_model(work / "scorer");
  save_scoring_model(work / "merged_scorer", *scorer.weights, work / "scorer", scorer.format, {{"stage", "test"}});
  CHECK(load_scoring_model(work / "merged_scorer").score({kIds})[0] == Catch::Approx(scorer.score({kIds})[0]).margin(1e-4));
  // A trained reward model as the base of another's adapter: its trunk counts, its head does not.
  policy::save_lora_classifier(
      work / "on_reward",
      {policy::backbone_of(adapted(policy::load_llama(work / "model"), 0)), at::arange(test::kTinyWidth, at::kFloat).view({1, -1})}, kLora);
  name_base(work, "on_reward", "../reward");
  CHECK(load_scoring_model(work / "on_reward").score({kIds})[0] == Catch::Approx(scorer.score({kIds})[0]).margin(1e-4));
}

}  // namespace keel::inference
