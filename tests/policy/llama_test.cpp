#include "policy/llama.h"

#include "core/error.h"
#include "policy/block.h"
#include "policy/generate.h"
#include "policy/lively_model.h"
#include "support/tiny_model.h"

using Catch::Matchers::ContainsSubstring;
using keel::core::Ids;
using keel::policy::Llama;
using keel::policy::LlamaConfig;
using keel::test::tensor;

namespace {

struct Reference {
  const char* name;
  LlamaConfig config;
  std::vector<double> last_logits, logprobs;
};

// tools/oracle/llama_reference.py
std::vector<Reference> references() {
  LlamaConfig grouped = keel::test::tiny_config(), tied = grouped, wide = grouped;
  tied.num_attention_heads = tied.num_key_value_heads = 4;
  tied.tie_word_embeddings = true;
  wide.num_attention_heads = 4;
  wide.num_key_value_heads = 2;
  wide.head_dim = 6;
  wide.rms_norm_eps = .01;
  wide.rope_theta = 500;
  return {{"grouped queries, untied",
           grouped,
           {.438539, .326872, -.805279, .576626, .158323, -.754259, .687933, -.017579, -.668209, .767289, -.192665},
           {-2.510315, -2.421454, -2.340961, -2.463233, -2.143674, -2.919122, -2.330091, -3.325213, -1.731807}},
          {"tied, one head a key head",
           tied,
           {1.441266, -.629198, -.735326, 1.454211, -.896252, -.448643, 1.399616, -1.121682, -.141124, 1.280019, -1.295017},
           {-3.417219, -1.631763, -1.683525, -3.596003, -3.797592, -4.317287, -3.44507, -3.722363, -3.112497}},
          {"wide heads",
           wide,
           {.357776, .92102, -1.391131, .639786, .673312, -1.39522, .892081, .394333, -1.334511, 1.102946, .09704},
           {-1.803163, -1.734235, -2.260901, -2.340582, -2.67674, -4.030814, -2.639347, -4.306265, -2.047803}}};
}

}  // namespace

TEST_CASE("llama: logits and log-probs equal those of transformers", "[policy]") {
  const Ids ids = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3};
  at::set_num_threads(1);
  for (const auto& reference : references()) {
    INFO(reference.name);
    const Llama model = keel::policy::empty_llama(reference.config);
    keel::test::fill_by_formula(keel::policy::parameters(model));
    const at::Tensor logits = logits_of(model, hidden_states(model, keel::runtime::pad_right({ids})));
    CHECK_CLOSE(logits[0][9], at::tensor(reference.last_logits), 2e-6);
    CHECK_CLOSE(keel::test::floats(sequence_logprobs(model, {ids})[0]), at::tensor(reference.logprobs), 2e-6);
  }
}

TEST_CASE("llama: a bf16 model attends in one dtype, and its log-probs are those of fp32 to bf16's precision", "[policy]") {
  const Llama exact = keel::test::lively_llama();
  for (const auto& [name, tensor] : keel::policy::parameters(exact))
    if (tensor.dim() == 2) tensor.div_(4);
  Llama half = frozen_copy(exact);
  visit_weights(half, [](const std::string&, at::Tensor& tensor) { tensor = tensor.to(at::kBFloat16); });

  const auto batch = keel::runtime::pad_right({{3, 1, 4}});
  const at::Tensor x = at::embedding(half.embedding, batch.ids);
  const at::Tensor out = block(half.layers[0], half.config, x, keel::policy::rotary(half.config, batch.positions),
                               [](const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
                                 for (const at::Tensor* each : {&q, &k, &v})
                                   CHECK(each->scalar_type() == at::kBFloat16);
                                 return keel::policy::attention(q, k, v, {});
                               });
  CHECK(out.scalar_type() == at::kBFloat16);

  const auto rows = keel::test::some_rows({12, 5, 9});
  const auto expected = sequence_logprobs(exact, rows), actual = sequence_logprobs(half, rows);
  for (size_t i = 0; i < rows.size(); ++i)
    CHECK_CLOSE(keel::test::floats(actual[i]), keel::test::floats(expected[i]), 4e-2);
  for (const auto& answer : generate(half, {.prompts = rows, .sampling = {.max_new_tokens = 6}})) {
    const Ids whole = keel::core::joined(rows[static_cast<size_t>(answer.prompt)], answer.ids);
    const auto all = sequence_logprobs(half, {whole})[0];
    CHECK_CLOSE(keel::test::floats(answer.logprobs), keel::test::floats({all.end() - std::ssize(answer.ids), all.end()}), 4e-2);
  }
}

TEST_CASE("llama: weights have Hugging Face's names, each once, in file order", "[policy]") {
  LlamaConfig config = keel::test::lively_config();
  config.num_hidden_layers = 1;
  std::vector<std::string> names;
  for (const auto& parameter : parameters(keel::policy::make_llama(config, 1)))
    names.push_back(parameter.name);
  const std::string layer = "model.layers.0.";
  std::vector<std::string> expected = {"model.embed_tokens.weight",
                                       layer + "input_layernorm.weight",
                                       layer + "self_attn.q_proj.weight",
                                       layer + "self_attn.k_proj.weight",
                                       layer + "self_attn.v_proj.weight",
                                       layer + "self_attn.o_proj.weight",
                                       layer + "post_attention_layernorm.weight",
                                       layer + "mlp.gate_proj.weight",
                                       layer + "mlp.up_proj.weight",
                                       layer + "mlp.down_proj.weight",
                                       "model.norm.weight",
                                       "lm_head.weight"};
  CHECK(names == expected);
  config.tie_word_embeddings = true;
  expected.pop_back();
  const Llama tied = keel::policy::make_llama(config, 1);
  CHECK(parameters(tied).size() == expected.size());
  CHECK(tied.head.data_ptr() == tied.embedding.data_ptr());
}

TEST_CASE("llama: fresh weights are normal with deviation 0.02, smaller where they write into the residual stream", "[policy]") {
  LlamaConfig config = keel::test::lively_config();
  config.vocab_size = 500;
  config.num_hidden_layers = 8;
  const Llama model = keel::policy::make_llama(config, 1);
  const auto deviation = [](const at::Tensor& weights) { return weights.std().item<double>(); };
  CHECK(deviation(model.embedding) == Catch::Approx(.02).epsilon(.03));
  std::vector<at::Tensor> outputs;
  for (const auto& layer : model.layers)
    for (const auto& weights : {layer.o, layer.down})
      outputs.push_back(weights.flatten());
  CHECK(deviation(at::cat(outputs)) == Catch::Approx(.02 / 4).epsilon(.05));  // sqrt(2 x 8 layers) = 4
  CHECK_CLOSE(model.norm, at::ones({16}), 0);
  CHECK_CLOSE(model.layers[7].post_norm, at::ones({16}), 0);
}

TEST_CASE("llama: each fresh tensor depends on the seed and on its own name alone", "[policy]") {
  LlamaConfig small = keel::test::lively_config(), large = small;
  large.vocab_size = 50;
  large.num_hidden_layers = 3;
  const Llama a = keel::policy::make_llama(small, 1), b = keel::policy::make_llama(large, 1), c = keel::policy::make_llama(small, 2);
  CHECK(a.layers[0].q.equal(b.layers[0].q));
  CHECK_FALSE(a.layers[0].q.equal(c.layers[0].q));
  CHECK_FALSE(a.layers[0].gate.equal(a.layers[0].up));
  CHECK_FALSE(a.layers[0].q.equal(a.layers[1].q));
}

TEST_CASE("llama: a frozen copy shares no storage and needs no gradients", "[policy]") {
  LlamaConfig config = keel::test::lively_config();
  config.tie_word_embeddings = GENERATE(false, true);
  const Llama model = keel::test::lively_llama(config);
  keel::runtime::set_trainable(parameters(model), true);
  const Llama copy = keel::policy::frozen_copy(model);
  const auto own = parameters(model), copied = parameters(copy);
  CHECK(keel::runtime::digest(copied) == keel::runtime::digest(own));
  for (size_t i = 0; i < own.size(); ++i) {
    CHECK(copied[i].tensor.data_ptr() != own[i].tensor.data_ptr());
    CHECK_FALSE(copied[i].tensor.requires_grad());
  }
  CHECK((copy.head.data_ptr() == copy.embedding.data_ptr()) == config.tie_word_embeddings);
}

TEST_CASE("llama: a backbone is the same weights without a head", "[policy]") {
  const Llama model = keel::test::lively_llama(), backbone = keel::policy::backbone_of(model);
  CHECK(parameters(backbone).size() == parameters(model).size() - 1);
  CHECK(backbone.norm.data_ptr() == model.norm.data_ptr());
  const at::Tensor hidden = hidden_states(backbone, keel::runtime::pad_right({{1, 2}}));
  CHECK_THROWS_WITH(logits_of(backbone, hidden), ContainsSubstring("no language-model head"));
}

TEST_CASE("llama: a shape that cannot be is a config error with every problem", "[policy]") {
  LlamaConfig config = keel::test::lively_config();
  config.num_key_value_heads = 3;
  config.rope_theta = 0;
  try {
    keel::policy::empty_llama(config);
    FAIL("accepted");
  } catch (const keel::core::ConfigError& error) {
    CHECK(error.problems.size() == 2);
  }
}

TEST_CASE("llama: padding on the left changes no log-prob", "[policy]") {
  const Llama model = keel::test::lively_llama();
  const Ids ids = keel::test::some_ids(0, 7);
  const at::Tensor expected = keel::test::floats(sequence_logprobs(model, {ids})[0]);
  for (const int64_t pads : {0, 1, 5}) {
    const at::Tensor row = at::cat({at::full({pads}, 22, at::kLong), at::tensor(ids)});
    const at::Tensor positions = (at::arange(pads + 7, at::kLong) - pads).clamp_min(0);
    const at::Tensor segments = at::where(at::arange(pads + 7, at::kLong) < pads, -1, at::zeros({1}, at::kLong));
    const keel::runtime::TokenBatch batch{
        .ids = row.unsqueeze(0), .positions = positions.unsqueeze(0), .segments = segments.unsqueeze(0), .lengths = {}};
    const at::Tensor hidden = hidden_states(model, batch)[0].narrow(0, pads, 6);
    const at::Tensor logprobs = keel::policy::target_logprobs(logits_of(model, hidden), at::tensor(ids).narrow(0, 1, 6));
    CHECK_CLOSE(logprobs, expected, 1e-5);
  }
}

TEST_CASE("llama: hidden states are those of the padded batch whatever stands behind a row", "[policy]") {
  const Llama model = keel::test::lively_llama();
  auto batch = keel::runtime::pad_right(keel::test::some_rows({3, 9}));
  const at::Tensor before = hidden_states(model, batch)[0].narrow(0, 0, 3);
  batch.ids[0].narrow(0, 3, 6).fill_(17);
  CHECK_CLOSE(hidden_states(model, batch)[0].narrow(0, 0, 3), before, 1e-6);
}

TEST_CASE("llama: a row longer than the context is refused", "[policy]") {
  const Llama model = keel::test::lively_llama();
  CHECK_THROWS_WITH(hidden_states(model, keel::runtime::pad_right({keel::test::some_ids(0, 41)})), ContainsSubstring("context of 40"));
}
