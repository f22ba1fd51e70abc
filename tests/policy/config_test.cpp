#include "policy/config.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "support/test.h"

using Catch::Matchers::ContainsSubstring;
using keel::core::DataError;
using keel::policy::LlamaConfig;
using keel::policy::read_llama_config;
using nlohmann::json;

namespace {

json plain_config() {
  return {{"model_type", "llama"},   {"vocab_size", 23},       {"hidden_size", 16},
          {"intermediate_size", 24}, {"num_hidden_layers", 2}, {"num_attention_heads", 4}};
}

std::string config_complaint(const json& changes) {
  json config = plain_config();
  config.update(changes);
  try {
    read_llama_config(config, "m/config.json");
    return "";
  } catch (const DataError& error) {
    return error.what();
  }
}

}  // namespace

TEST_CASE("llama config: what config.json leaves out has Hugging Face's defaults", "[policy]") {
  const LlamaConfig config = read_llama_config(plain_config(), "config.json");
  CHECK(config.num_key_value_heads == 4);
  CHECK(config.head_size() == 4);
  CHECK(config.max_position_embeddings == 2048);
  CHECK(config.rms_norm_eps == 1e-6);
  CHECK(config.rope_theta == 10000);
  CHECK_FALSE(config.tie_word_embeddings);
}

TEST_CASE("llama config: written and read again it is the same", "[policy]") {
  const LlamaConfig config{.vocab_size = 7,
                           .hidden_size = 10,
                           .intermediate_size = 3,
                           .num_hidden_layers = 1,
                           .num_attention_heads = 4,
                           .num_key_value_heads = 2,
                           .head_dim = 6,
                           .max_position_embeddings = 99,
                           .rms_norm_eps = 1e-3,
                           .rope_theta = 5e5,
                           .tie_word_embeddings = true};
  LlamaConfig read = read_llama_config(keel::policy::to_hugging_face(config), "config.json"), written = config;
  CHECK(keel::core::to_json(keel::core::fields_of(read)) == keel::core::to_json(keel::core::fields_of(written)));
}

TEST_CASE("llama config: the rope base stands where transformers 5 or 4 put it; a plain rotary embedding may be spelled out", "[policy]") {
  json five = plain_config(), four = plain_config();
  five["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 500.0}};
  four.update({{"rope_theta", 700}, {"rope_scaling", nullptr}, {"head_dim", nullptr}});
  CHECK(read_llama_config(five, "c").rope_theta == 500);
  CHECK(read_llama_config(four, "c").rope_theta == 700);
}

TEST_CASE("llama config: missing and mistyped fields are errors with the file and the field", "[policy]") {
  for (const char* key : {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"}) {
    for (const json& wrong : {json(nullptr), json("16"), json(16.5), json(true), json(json::array())})
      CHECK_THAT(config_complaint({{key, wrong}}), ContainsSubstring("m/config.json") && ContainsSubstring(key));
    for (const json& wrong : {json(0), json(-4), json(int64_t{1} << 40), json(UINT64_MAX)})
      CHECK_THAT(config_complaint({{key, wrong}}), ContainsSubstring(key));
  }
  CHECK_THAT(config_complaint({{"hidden_size", 16.5}}), ContainsSubstring("must be an integer, got 16.5"));
  CHECK_THAT(config_complaint({{"rms_norm_eps", "small"}}), ContainsSubstring("\"rms_norm_eps\" must be a number"));
  CHECK_THAT(config_complaint({{"rms_norm_eps", 0}}), ContainsSubstring("rms_norm_eps must be positive"));
  CHECK_THAT(config_complaint({{"rope_theta", -1}}), ContainsSubstring("rope_theta must be positive"));
  CHECK_THAT(config_complaint({{"tie_word_embeddings", 1}}), ContainsSubstring("must be true or false, got 1"));
  CHECK_THROWS_AS(read_llama_config(json::array(), "c"), DataError);
}

TEST_CASE("llama config: heads that do not divide and odd head widths are named together", "[policy]") {
  CHECK_THAT(config_complaint({{"num_attention_heads", 3}}), ContainsSubstring("must divide hidden_size 16, got 3"));
  CHECK_THAT(config_complaint({{"num_key_value_heads", 3}}), ContainsSubstring("must divide num_attention_heads 4, got 3"));
  CHECK_THAT(config_complaint({{"hidden_size", 12}}), ContainsSubstring("even for RoPE, got 3"));
  CHECK_THAT(config_complaint({{"head_dim", -2}}), ContainsSubstring("head_dim"));
  CHECK_THAT(config_complaint({{"num_key_value_heads", 3}, {"head_dim", 5}}), ContainsSubstring("got 3") && ContainsSubstring("got 5"));
}

TEST_CASE("llama config: what would change the arithmetic is refused, not ignored", "[policy]") {
  CHECK_THAT(config_complaint({{"model_type", "mistral"}}), ContainsSubstring("must be \"llama\", got \"mistral\""));
  CHECK_THAT(config_complaint({{"model_type", 4}}), ContainsSubstring("model_type"));
  CHECK_THAT(config_complaint({{"attention_bias", true}}), ContainsSubstring("no biases"));
  CHECK_THAT(config_complaint({{"mlp_bias", true}}), ContainsSubstring("no biases"));
  CHECK_THAT(config_complaint({{"hidden_act", "gelu"}}), ContainsSubstring("got \"gelu\""));
  CHECK_THAT(config_complaint({{"rope_scaling", "dynamic"}}), ContainsSubstring("must be an object or null"));
}

TEST_CASE("llama config: rope scaling of other kinds, or with what its kind has not, is refused in every spelling", "[policy]") {
  for (const json& scaling :
       {json{{"factor", 4.0}}, json{{"type", "dynamic"}, {"factor", 2}}, json{{"rope_type", "yarn"}, {"factor", 2}, {"beta_fast", 32}},
        json{{"rope_type", "longrope"}, {"long_factor", {1, 2}}}, json{{"rope_type", 3}},
        json{{"rope_type", "default"}, {"partial_rotary_factor", 0.5}}, json{{"type", "linear"}, {"factor", 2}, {"low_freq_factor", 1}},
        json{{"type", "linear"}, {"factor", 2}, {"beta_fast", 32}}, json{{"type", "linear"}, {"factor", 2}, {"attention_factor", 2}},
        json{{"full_attention", {{"rope_type", "default"}}}}})
    for (const char* key : {"rope_scaling", "rope_parameters"}) {
      INFO(key << scaling.dump());
      CHECK_THAT(config_complaint({{key, scaling}}), ContainsSubstring(key) && ContainsSubstring("not supported"));
    }
  CHECK(config_complaint({{"rope_parameters", {{"rope_type", "default"}, {"rope_theta", 5e5}, {"factor", nullptr}}}}).empty());
  CHECK(config_complaint({{"rope_scaling", json::object()}}).empty());
}

TEST_CASE("llama config: keys of Llama's relatives are refused unless they change nothing", "[policy]") {
  const json refused = {{"attention_multiplier", 0.01}, {"logits_scaling", 8},
                        {"embedding_multiplier", 12.0}, {"residual_multiplier", 0.22},
                        {"partial_rotary_factor", 0.5}, {"sliding_window", 4096},
                        {"num_local_experts", 8},       {"final_logit_softcapping", 30.0},
                        {"use_qk_norm", true},          {"auto_map", {{"AutoModel", "x.Y"}}}};
  for (const auto& [key, value] : refused.items())
    CHECK_THAT(config_complaint({{key, value}}), ContainsSubstring("m/config.json: " + key) && ContainsSubstring("is not supported"));
  CHECK_THAT(config_complaint({{"quantization_config", {{"quant_method", "gptq"}}}}), ContainsSubstring("quantised (\"gptq\")"));
  CHECK(config_complaint({{"sliding_window", nullptr},
                          {"use_sliding_window", false},
                          {"residual_multiplier", 1.0},
                          {"partial_rotary_factor", 1.0},
                          {"quantization_config", nullptr},
                          {"hidden_act", "swish"},
                          {"pretraining_tp", 1},
                          {"eos_token_id", {2, 3}}})
            .empty());
  CHECK(config_complaint({{"my_note", "hello"}}).empty());  // a warning: transformers' Llama does not read it either
}

TEST_CASE("llama config: sizes whose product overflows are refused", "[policy]") {
  CHECK_THAT(config_complaint({{"hidden_size", 1 << 30}, {"vocab_size", 1 << 30}}), ContainsSubstring("weights, at most 1e+14"));
  CHECK_THAT(config_complaint({{"head_dim", 1 << 30}, {"num_attention_heads", 1 << 30}}), ContainsSubstring("weights"));
  CHECK(config_complaint({{"hidden_size", 16384}, {"intermediate_size", 53248}, {"num_hidden_layers", 126}}).empty());  // 405 B
}
