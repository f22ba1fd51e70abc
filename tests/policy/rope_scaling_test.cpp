// Rope scaling: config.json, frequencies and logits against transformers 5 (tools/oracle/llama_reference.py rope), and that models keep it.
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "policy/generate.h"
#include "policy/layers.h"
#include "policy/logprobs.h"
#include "policy/model_directory.h"
#include "support/tiny_model.h"

using Catch::Matchers::ContainsSubstring;
using keel::core::Ids;
using keel::policy::Llama;
using keel::policy::LlamaConfig;
using keel::policy::read_llama_config;
using keel::policy::RopeKind;
using keel::policy::RopeScaling;
using keel::policy::to_hugging_face;
using nlohmann::json;

namespace {

constexpr RopeScaling kLinear = {.kind = RopeKind::linear, .factor = 4};
constexpr RopeScaling kLlama3 = {.kind = RopeKind::llama3, .factor = 8, .original_max_position_embeddings = 32};

Llama scaled_llama(const RopeScaling& scaling) {
  at::set_num_threads(1);
  LlamaConfig config = keel::test::tiny_config();
  config.head_dim = 8;
  config.rope_theta = 100;
  config.max_position_embeddings = 64;
  config.rope_scaling = scaling;
  Llama model = keel::policy::empty_llama(config);
  keel::test::fill_by_formula(parameters(model));
  return model;
}

// 48 ids, more than the 32 positions of kLlama3's original context.
Ids long_row() {
  Ids ids;
  for (int64_t i = 0; i < 48; ++i)
    ids.push_back((3 * i * i + i) % 11);
  return ids;
}

at::Tensor last_logits(const Llama& model) {
  return logits_of(model, hidden_states(model, keel::runtime::pad_right({long_row()})))[0][-1];
}

at::Tensor every_fourth_logprob(const Llama& model) {
  return at::tensor(sequence_logprobs(model, {long_row()})[0]).slice(0, 0, std::nullopt, 4);
}

json shape_with(const json& changes) {
  json config = {{"model_type", "llama"},  {"vocab_size", 23},         {"hidden_size", 16},  {"intermediate_size", 24},
                 {"num_hidden_layers", 2}, {"num_attention_heads", 4}, {"rope_theta", 700.0}};
  config.update(changes);
  return config;
}

RopeScaling scaling_in(const json& changes) {
  return read_llama_config(shape_with(changes), "m/config.json").rope_scaling;
}

std::string rope_complaint(const json& changes) {
  try {
    scaling_in(changes);
    return "";
  } catch (const keel::core::DataError& error) {
    return error.what();
  }
}

const json kPublished = {{"rope_type", "llama3"},
                         {"factor", 32.0},
                         {"low_freq_factor", 1.0},
                         {"high_freq_factor", 4.0},
                         {"original_max_position_embeddings", 8192}};

}  // namespace

TEST_CASE("rope scaling: frequencies and outputs are those of transformers, beyond the original context too", "[policy]") {
  const Llama linear = scaled_llama(kLinear), llama3 = scaled_llama(kLlama3);
  CHECK_CLOSE(rotary_frequencies(linear.config), keel::test::tensor({0.25, 0.079056941, 0.0250000004, 0.00790569466}), 1e-8);
  CHECK_CLOSE(rotary_frequencies(llama3.config), keel::test::tensor({1.0, 0.0958399773, 0.0125000002, 0.00395284733}), 1e-8);
  CHECK_CLOSE(
      last_logits(linear),
      keel::test::tensor({1.12185, -1.223437, 0.250808, 0.942039, -1.307746, 0.525211, 0.718476, -1.331318, 0.775221, 0.461544, -1.293059}),
      1e-5);
  CHECK_CLOSE(every_fourth_logprob(linear),
              keel::test::tensor({-2.357946, -1.905202, -3.640762, -4.046206, -1.930961, -1.729933, -4.28454, -4.204589, -1.829245,
                                  -1.956843, -4.418478, -2.397722}),
              1e-5);
  CHECK_CLOSE(last_logits(llama3),
              keel::test::tensor(
                  {1.159401, -1.235522, 0.226816, 0.981041, -1.327514, 0.508387, 0.757119, -1.357851, 0.766347, 0.498034, -1.325125}),
              1e-5);
  CHECK_CLOSE(every_fourth_logprob(llama3),
              keel::test::tensor({-2.357946, -1.930039, -3.692722, -3.886707, -1.943853, -1.721176, -4.317741, -4.141129, -1.829629,
                                  -1.974397, -4.433646, -2.389343}),
              1e-5);
  // The models differ by far more than these tolerances from those without scaling, and with a factor that divides all frequencies.
  const at::Tensor plain = last_logits(scaled_llama({})), by_factor = last_logits(scaled_llama({.kind = RopeKind::linear, .factor = 8}));
  CHECK((last_logits(linear) - plain).abs().max().item<double>() > 1e-3);
  CHECK((last_logits(llama3) - plain).abs().max().item<double>() > 1e-3);
  CHECK((last_logits(llama3) - by_factor).abs().max().item<double>() > 1e-3);
}

TEST_CASE("rope scaling: generation with a cache gives the log-probs of the whole forward pass", "[policy]") {
  const Llama model = scaled_llama(GENERATE(kLinear, kLlama3));
  const Ids row = long_row();
  const Ids first = {1, 5}, second(row.begin(), row.begin() + 20);
  for (const auto& answer :
       generate(model, {.prompts = {first, second}, .samples = 2, .sampling = {.temperature = 1, .max_new_tokens = 40}, .stop_ids = {}})) {
    Ids whole = answer.prompt == 0 ? first : second;
    whole.insert(whole.end(), answer.ids.begin(), answer.ids.end());
    REQUIRE(whole.size() > 32);
    const auto all = sequence_logprobs(model, {whole})[0];
    CHECK_CLOSE(at::tensor(answer.logprobs), at::tensor(std::vector<float>(all.end() - std::ssize(answer.ids), all.end())), 1e-5);
  }
}

TEST_CASE("rope scaling: every spelling is read, and a model folder keeps it", "[policy]") {
  CHECK(scaling_in({{"rope_scaling", {{"type", "linear"}, {"factor", 4}}}}) == kLinear);
  CHECK(scaling_in({{"rope_scaling", {{"type", "linear"}, {"rope_type", "linear"}, {"factor", 4.0}, {"low_freq_factor", nullptr}}}}) ==
        kLinear);
  CHECK(scaling_in({{"rope_parameters", {{"rope_type", "linear"}, {"factor", 4.0}, {"rope_theta", 5e5}}}}) == kLinear);
  const RopeScaling published = {.kind = RopeKind::llama3, .factor = 32};
  CHECK(scaling_in({{"rope_scaling", kPublished}}) == published);
  CHECK(scaling_in({{"rope_scaling", kPublished}, {"rope_parameters", kPublished}}) == published);
  CHECK(scaling_in({{"rope_scaling", kPublished}, {"original_max_position_embeddings", 8192}}) == published);
  CHECK(scaling_in({{"rope_scaling", {{"rope_type", "default"}}}}) == RopeScaling{});

  json five = kPublished;
  five["rope_theta"] = 5e5;
  CHECK(read_llama_config(shape_with({{"rope_parameters", five}}), "c").rope_theta == 5e5);
  CHECK(read_llama_config(shape_with({{"rope_scaling", five}}), "c").rope_theta == 5e5);  // as in transformers 5
  CHECK(read_llama_config(shape_with({{"rope_scaling", kPublished}}), "c").rope_theta == 700);

  for (const RopeScaling& scaling : {RopeScaling{}, kLinear, published, kLlama3}) {
    const Llama model = scaled_llama(scaling);
    const keel::test::TemporaryFolder folder;
    save_weights(folder / "m", model.config, parameters(model), keel::policy::causal_model_json());
    const Llama loaded = keel::policy::load_llama(folder / "m");
    CHECK(loaded.config.rope_scaling == scaling);
    CHECK(last_logits(loaded).equal(last_logits(model)));
    CHECK(frozen_copy(loaded).config.rope_scaling == scaling);
    CHECK(backbone_of(loaded).config.rope_scaling == scaling);
  }
  const json written = to_hugging_face(scaled_llama(published).config);
  CHECK(written["rope_scaling"] == kPublished);
  CHECK(to_hugging_face(scaled_llama({}).config)["rope_scaling"].is_null());
}

TEST_CASE("rope scaling: what is missing, out of range or contradictory is named with the file", "[policy]") {
  const auto without = [](const char* key, const json& value) {
    json changed = kPublished;
    changed[key] = value;
    return rope_complaint({{"rope_scaling", changed}});
  };
  for (const char* key : {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}) {
    CHECK_THAT(without(key, nullptr), ContainsSubstring("m/config.json: rope_scaling: \"" + std::string(key) + "\" is missing"));
    CHECK_THAT(without(key, "8"), ContainsSubstring(key) && ContainsSubstring("must be a"));
  }
  CHECK_THAT(rope_complaint({{"rope_parameters", {{"rope_type", "linear"}}}}), ContainsSubstring("rope_parameters: \"factor\" is missing"));
  CHECK_THAT(without("factor", 0.5), ContainsSubstring("must be at least 1, got 0.5"));
  CHECK_THAT(without("high_freq_factor", 1), ContainsSubstring("0 < low_freq_factor < high_freq_factor, got 1 and 1"));
  CHECK_THAT(without("low_freq_factor", 0), ContainsSubstring("got 0 and 4"));
  CHECK_THAT(without("original_max_position_embeddings", 0), ContainsSubstring("must be at least 1, got 0"));
  CHECK_THAT(without("original_max_position_embeddings", 8192.5), ContainsSubstring("must be an integer, got 8192.5"));
  CHECK_THAT(without("type", "linear"), ContainsSubstring("contradict each other (\"llama3\" and \"linear\")"));
  CHECK_THAT(without("beta_fast", 32), ContainsSubstring("rope_scaling: beta_fast = 32 is not supported for type \"llama3\""));
  CHECK_THAT(without("rope_type", "dynamic"),
             ContainsSubstring("type \"dynamic\" is not supported; keel computes default, linear and llama3"));
  CHECK_THAT(rope_complaint({{"rope_scaling", kPublished}, {"rope_parameters", {{"rope_type", "default"}}}}),
             ContainsSubstring("contradict"));
  CHECK_THAT(rope_complaint({{"rope_scaling", kPublished}, {"original_max_position_embeddings", 4096}}),
             ContainsSubstring("original_max_position_embeddings is 4096 here and 8192 in the rope scaling"));
}
