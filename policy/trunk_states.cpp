#include "policy/trunk_states.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/core/ivalue.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <array>
#include <utility>

#include "engine/trunk.h"
#include "policy/layers.h"
#include "policy/lora.h"
#include "policy/packed_model.h"

namespace keel::policy {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// The tokens of a batch without its padding.
struct Tokens {
  std::vector<int64_t> ids, places;  // of all sequences, one after the other; each token's place among B T positions
  std::vector<engine::Stretch> sequences;
};

Tokens tokens_of(const Llama& model, const runtime::TokenBatch& batch) {
  const int64_t rows = batch.ids.size(0), width = batch.ids.size(1);
  const at::Tensor ids = batch.ids.contiguous(), segments = batch.segments.defined() ? batch.segments.contiguous() : at::Tensor();
  Tokens tokens;
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t length = segments.defined() ? width : batch.lengths.const_data_ptr<int64_t>()[row];
    const auto segment = [&](int64_t t) { return segments.defined() ? segments.const_data_ptr<int64_t>()[row * width + t] : 0; };
    const runtime::Fork* fork = batch.forks.empty() ? nullptr : &batch.forks[static_cast<size_t>(row)];
    const auto first = std::ssize(tokens.ids);
    for (int64_t t = 0; t < length; ++t) {
      if (segment(t) < 0) continue;
      if (t == 0 || segment(t) != segment(t - 1)) tokens.sequences.push_back({.length = 0});
      if (fork != nullptr && t == fork->second) tokens.sequences.push_back({.length = 0, .shared = fork->shared, .shared_from = first});
      ++tokens.sequences.back().length;
      tokens.ids.push_back(ids.const_data_ptr<int64_t>()[row * width + t]);
      tokens.places.push_back(row * width + t);
    }
  }
  for (const int64_t id : tokens.ids)
    TORCH_CHECK(id >= 0 && id < model.config.vocab_size, "[policy.hidden_states] id ", id, " lies outside the vocabulary 0..",
                model.config.vocab_size - 1);
  return tokens;
}

// One forward pass, until its backward pass.
struct Pass : torch::CustomClassHolder {
  Pass(const Llama& model, Tokens given, int threads)
      : tokens(std::move(given)),
        frequencies(rotary_frequencies(model.config).contiguous()),
        trunk(shape_of(model.config), weights_of(model, frequencies), threads) {}

  Tokens tokens;
  at::Tensor frequencies;
  engine::Trunk trunk;
};

struct TrunkStates : torch::autograd::Function<TrunkStates> {
  // weights: parameters() of the backbone, and its lora_parameters()
  static at::Tensor forward(AutogradContext* context, at::TensorList weights, const c10::intrusive_ptr<Pass>& pass, at::IntArrayRef shape,
                            int64_t kept_from, bool checkpointing) {
    at::Tensor states = at::empty({std::ssize(pass->tokens.ids), shape.back()}, at::kFloat);
    pass->trunk.forward(pass->tokens.ids, pass->tokens.sequences, states.mutable_data_ptr<float>(), kept_from,
                        checkpointing ? engine::Keeping::inputs : engine::Keeping::tensors);
    context->save_for_backward(variable_list(weights.begin(), weights.end()));
    context->saved_data["pass"] = c10::IValue::make_capsule(pass);
    return at::zeros(shape, at::kFloat).view({-1, shape.back()}).index_copy_(0, at::tensor(pass->tokens.places), states).view(shape);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list weights = context->get_saved_variables();  // refuses weights that have changed since
    const auto pass = c10::static_intrusive_pointer_cast<Pass>(context->saved_data["pass"].toCapsule());
    const at::Tensor states = gradients[0].reshape({-1, gradients[0].size(-1)}).index_select(0, at::tensor(pass->tokens.places));
    variable_list made(weights.size());
    size_t next = 0;
    const auto to = [&]() -> engine::GradientOf {
      const size_t i = next++;
      return context->needs_input_grad(i) ? gradient_of(weights[i], made[i]) : engine::GradientOf{};
    };
    const engine::GradientOf of_embedding = to();
    if (of_embedding && of_embedding.into == engine::Into::replace) std::fill_n(of_embedding.to, weights[0].numel(), 0.f);
    const std::vector<engine::LayerWeights>& layers = pass->trunk.weights().layers;
    engine::Gradients wanted{.embedding = of_embedding.to, .layers = {}, .norm = {}};
    for (size_t layer = 0; layer < layers.size(); ++layer)
      wanted.layers.push_back(
          {.input_norm = to(), .q = to(), .k = to(), .v = to(), .o = to(), .post_norm = to(), .gate = to(), .up = to(), .down = to()});
    wanted.norm = to();
    for (size_t layer = 0; layer < layers.size(); ++layer) {
      const auto adapters = layers[layer].adapters.all();
      for (size_t i = 0; i < adapters.size(); ++i)
        if (adapters[i]->rank > 0) *wanted.layers[layer].adapters.all()[i] = {.a = to(), .b = to()};
    }
    pass->trunk.backward(states.const_data_ptr<float>(), wanted);
    made.resize(made.size() + 4);  // what is no tensor
    return made;
  }
};

// The lowest layer with a weight that learns, where the backward pass ends; the number of layers if there is none.
int64_t lowest_that_learns(const Llama& model) {
  const auto learns = [](const at::Tensor& tensor) { return tensor.defined() && tensor.requires_grad(); };
  const auto adapter_learns = [&](const LowRank* adapter) { return learns(adapter->a) || learns(adapter->b); };
  if (learns(model.embedding)) return 0;
  const auto lowest = std::ranges::find_if(model.layers, [&](const LlamaLayer& layer) {
    return std::ranges::any_of(
               std::array{layer.input_norm, layer.q, layer.k, layer.v, layer.o, layer.post_norm, layer.gate, layer.up, layer.down},
               learns) ||
           std::ranges::any_of(layer.adapters.all(), adapter_learns);
  });
  return lowest - model.layers.begin();
}

}  // namespace

at::Tensor trunk_states(const Llama& model, const runtime::TokenBatch& batch) {
  std::vector<at::Tensor> weights = runtime::tensors_of(parameters(backbone_of(model)));
  for (const auto& [name, adapter] : lora_parameters(model))
    weights.push_back(adapter);
  const int64_t kept_from = at::GradMode::is_enabled() ? lowest_that_learns(model) : std::ssize(model.layers);
  Tokens tokens = tokens_of(model, batch);
  const int threads = threads_for(model, std::ssize(tokens.ids));
  return TrunkStates::apply(at::TensorList(weights), c10::make_intrusive<Pass>(model, std::move(tokens), threads),
                            at::IntArrayRef{batch.ids.size(0), batch.ids.size(1), model.config.hidden_size}, kept_from,
                            model.gradient_checkpointing);
}

}  // namespace keel::policy
