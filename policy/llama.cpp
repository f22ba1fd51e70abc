#include "policy/llama.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/log_softmax.h>
#include <fmt/format.h>

#include <array>
#include <cmath>
#include <utility>

#include "core/error.h"
#include "core/rng.h"
#include "policy/block.h"
#include "policy/checkpointed.h"
#include "policy/packed_model.h"
#include "policy/trunk_states.h"

namespace keel::policy {
namespace {

void fill_normal(const at::Tensor& tensor, double deviation, uint64_t seed, const std::string& name) {
  core::Stream stream(seed, "weights", core::text_key(name));
  float* value = tensor.mutable_data_ptr<float>();
  for (int64_t i = 0; i < tensor.numel(); ++i)
    value[i] = static_cast<float>(deviation * stream.normal());
}

}  // namespace

Llama empty_llama(const LlamaConfig& config, c10::Device device) {
  if (auto problems = problems_of(config); !problems.empty()) throw core::ConfigError(std::move(problems));
  const int64_t width = config.hidden_size, queries = config.num_attention_heads * config.head_size(),
                keys = config.num_key_value_heads * config.head_size(), inner = config.intermediate_size;
  const auto make = [&](at::IntArrayRef shape) { return at::empty(shape, at::TensorOptions().dtype(at::kFloat).device(device)); };
  Llama model{.config = config, .embedding = make({config.vocab_size, width}), .layers = {}, .norm = make({width}), .head = {}};
  model.config.head_dim = config.head_size();
  for (int64_t i = 0; i < config.num_hidden_layers; ++i)
    model.layers.push_back({.input_norm = make({width}),
                            .q = make({queries, width}),
                            .k = make({keys, width}),
                            .v = make({keys, width}),
                            .o = make({width, queries}),
                            .post_norm = make({width}),
                            .gate = make({inner, width}),
                            .up = make({inner, width}),
                            .down = make({width, inner})});
  model.head = config.tie_word_embeddings ? model.embedding : make({config.vocab_size, width});
  return model;
}

Llama make_llama(const LlamaConfig& config, uint64_t seed) {
  constexpr double kDeviation = 0.02;
  Llama model = empty_llama(config);
  const double residual = kDeviation / std::sqrt(2.0 * static_cast<double>(config.num_hidden_layers));
  for (const auto& [name, tensor] : parameters(model)) {
    if (tensor.dim() == 1)
      tensor.fill_(1.0);
    else
      fill_normal(tensor, name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight") ? residual : kDeviation, seed, name);
  }
  return model;
}

Llama frozen_copy(const Llama& model) {
  const at::NoGradGuard no_grad;
  Llama copy = model;
  visit_weights(copy, [](const std::string&, at::Tensor& tensor) { tensor = tensor.detach().to(at::kFloat, false, /*copy=*/true); });
  visit_adapters(copy, [](const std::string&, LowRank& adapter) {
    adapter.a = adapter.a.detach().clone();
    adapter.b = adapter.b.detach().clone();
  });
  return copy;
}

bool may_be_bf16(const std::string& name) {
  return name.starts_with("model.layers.") && !name.ends_with("layernorm.weight");
}

Llama backbone_of(const Llama& model) {
  Llama backbone = model;
  backbone.head = at::Tensor();
  return backbone;
}

void visit_weights(Llama& model, const std::function<void(const std::string&, at::Tensor&)>& visit) {
  visit("model.embed_tokens.weight", model.embedding);
  for (size_t i = 0; i < model.layers.size(); ++i) {
    LlamaLayer& layer = model.layers[i];
    const auto each = [&](const char* name, at::Tensor& tensor) { visit(fmt::format("model.layers.{}.{}.weight", i, name), tensor); };
    each("input_layernorm", layer.input_norm);
    each("self_attn.q_proj", layer.q);
    each("self_attn.k_proj", layer.k);
    each("self_attn.v_proj", layer.v);
    each("self_attn.o_proj", layer.o);
    each("post_attention_layernorm", layer.post_norm);
    each("mlp.gate_proj", layer.gate);
    each("mlp.up_proj", layer.up);
    each("mlp.down_proj", layer.down);
  }
  visit("model.norm.weight", model.norm);
  if (!model.head.defined()) return;
  if (model.config.tie_word_embeddings)
    model.head = model.embedding;
  else
    visit("lm_head.weight", model.head);
}

void visit_adapters(Llama& model, const std::function<void(const std::string&, LowRank&)>& visit) {
  for (size_t i = 0; i < model.layers.size(); ++i) {
    constexpr std::array kNames = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                                   "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj"};
    const auto adapters = model.layers[i].adapters.all();
    for (size_t p = 0; p < adapters.size(); ++p)
      if (adapters[p]->a.defined()) visit(fmt::format("model.layers.{}.{}", i, kNames[p]), *adapters[p]);
  }
}

runtime::Parameters parameters(const Llama& model) {
  runtime::Parameters list;
  Llama handles = model;  // shares storage
  visit_weights(handles, [&](const std::string& name, at::Tensor& tensor) { list.push_back({name, tensor}); });
  return list;
}

Llama moved(const Llama& model, c10::Device device) {
  Llama there = model;
  visit_weights(there, [&](const std::string&, at::Tensor& tensor) { tensor = tensor.to(device); });
  visit_adapters(there, [&](const std::string&, LowRank& adapter) {
    adapter.a = adapter.a.to(device);
    adapter.b = adapter.b.to(device);
  });
  return there;
}

Llama with_gradient_checkpointing(Llama model, bool on) {
  model.gradient_checkpointing = on;
  return model;
}

at::Tensor hidden_states(const Llama& model, const runtime::TokenBatch& given) {
  const bool causal = !given.segments.defined() && !given.keep.defined() && given.forks.empty();
  TORCH_CHECK(!causal || given.ids.size(1) <= model.config.max_position_embeddings, "[policy.hidden_states] a row of ", given.ids.size(1),
              " tokens is longer than the model's context of ", model.config.max_position_embeddings);
  if (!given.keep.defined() && engine_takes(model)) return trunk_states(model, given);
  TORCH_CHECK(given.forks.empty() || given.keep.defined(), "[policy.hidden_states] rows that fork need a mask for this model");
  const runtime::TokenBatch batch = runtime::moved(given, model.embedding.device());
  const Rotary turns = rotary(model.config, batch.positions);
  const at::Tensor keep = batch.keep.defined() || causal ? batch.keep : segment_mask(batch.segments);
  at::Tensor x = at::embedding(model.embedding, batch.ids);
  const auto attend = [keep](const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) { return attention(q, k, v, keep); };
  const auto compute = [config = model.config, turns, attend](const LlamaLayer& layer, const at::Tensor& from) {
    return block(layer, config, from, turns, attend);
  };
  for (const auto& layer : model.layers)
    x = model.gradient_checkpointing && at::GradMode::is_enabled() ? checkpointed(layer, x, compute) : compute(layer, x);
  return rms_norm(x, model.norm, model.config.rms_norm_eps);
}

at::Tensor logits_of(const Llama& model, const at::Tensor& hidden) {
  TORCH_CHECK(model.head.defined(), "[policy.logits_of] this model has no language-model head (a reward model's backbone?)");
  return at::linear(hidden, model.head).to(at::kFloat);
}

at::Tensor target_logprobs(const at::Tensor& logits, const at::Tensor& targets, double temperature) {
  const at::Tensor scaled = temperature == 1.0 ? logits : logits / temperature;
  return at::log_softmax(scaled, -1).gather(-1, targets.unsqueeze(-1)).squeeze(-1);
}

}  // namespace keel::policy
