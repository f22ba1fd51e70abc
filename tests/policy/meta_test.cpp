// Llama 2's sizes on the meta device, which has shapes and no memory.
#include "policy/block.h"
#include "policy/layers.h"
#include "policy/llama.h"
#include "policy/lora.h"
#include "support/test.h"

namespace keel::policy {
namespace {

struct Size {
  const char* name;
  int64_t width, inner, layers, heads, key_heads;
  int64_t weights;   // of the published checkpoint
  int64_t adapters;  // numbers of rank 1 on all projections: a row and a column of each
};

constexpr Size kSizes[] = {{"7B", 4096, 11008, 32, 32, 32, 6'738'415'616, 2'498'560},
                           {"13B", 5120, 13824, 40, 40, 40, 13'015'864'320, 3'911'680},
                           {"70B", 8192, 28672, 80, 64, 8, 68'976'648'192, 12'943'360}};

Llama on_meta(const Size& size) {
  return empty_llama({.vocab_size = 32000,
                      .hidden_size = size.width,
                      .intermediate_size = size.inner,
                      .num_hidden_layers = size.layers,
                      .num_attention_heads = size.heads,
                      .num_key_value_heads = size.key_heads,
                      .max_position_embeddings = 4096},
                     c10::kMeta);
}

// All blocks after the embedding; its lookup and masked attention are operators of which LibTorch knows no shapes.
at::Tensor states_of(const Llama& model, int64_t rows, int64_t tokens) {
  const at::Tensor positions = at::arange(tokens, at::TensorOptions().dtype(at::kLong).device(c10::kMeta)).expand({rows, tokens});
  const Rotary turns = rotary(model.config, positions);
  const auto attend = [](const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
    const auto spread = [&](const at::Tensor& x) {
      return x.unsqueeze(2).expand({x.size(0), x.size(1), q.size(1) / x.size(1), x.size(2), x.size(3)}).reshape(q.sizes());
    };
    return at::matmul(at::softmax(at::matmul(q, spread(k).transpose(2, 3)), -1), spread(v));
  };
  at::Tensor x = at::empty({rows, tokens, model.config.hidden_size}, at::TensorOptions().device(c10::kMeta));
  for (const LlamaLayer& layer : model.layers)
    x = block(layer, model.config, x, turns, attend);
  return rms_norm(x, model.norm, model.config.rms_norm_eps);
}

}  // namespace

TEST_CASE("meta: models of 7B, 13B and 70B have the published number of weights, and states and logits of the right shape", "[policy]") {
  for (const Size& size : kSizes) {
    INFO(size.name);
    Llama model = on_meta(size);
    CHECK(runtime::count_elements(parameters(model)) == size.weights);
    visit_weights(model, [](const std::string& name, at::Tensor& weight) {
      if (may_be_bf16(name)) weight = weight.to(at::kBFloat16);
    });
    const at::Tensor states = states_of(model, 2, 100);
    CHECK(states.sizes() == at::IntArrayRef({2, 100, size.width}));
    CHECK(states.is_meta());
    CHECK(states.scalar_type() == at::kFloat);
    CHECK(logits_of(model, states).sizes() == at::IntArrayRef({2, 100, 32000}));
  }
}

TEST_CASE("meta: adapters of all projections fit the large models, and gradients reach them alone", "[policy]") {
  const LoraConfig every{
      .rank = 1, .alpha = 2, .target_modules = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}};
  for (const Size& size : kSizes) {
    INFO(size.name);
    const Llama model = with_lora(on_meta(size), every, 1, "test");
    const runtime::Parameters adapters = lora_parameters(model);
    CHECK(runtime::count_elements(adapters) == size.adapters);
    runtime::set_trainable(adapters, true);
    states_of(model, 1, 5).sum().backward();
    for (const auto& [name, adapter] : adapters)
      CHECK((adapter.grad().defined() && adapter.grad().sizes() == adapter.sizes()));
    CHECK_FALSE(model.layers[0].q.grad().defined());
  }
}

}  // namespace keel::policy
