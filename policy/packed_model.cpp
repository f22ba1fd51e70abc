#include "policy/packed_model.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include "policy/layers.h"

namespace keel::policy {
namespace {

constexpr int64_t kMostPackedBytes = int64_t{2} << 30;

const float* data(const at::Tensor& tensor) {
  return tensor.const_data_ptr<float>();
}

engine::LowRank low_rank(const LowRank& adapter) {
  if (!adapter.a.defined()) return {};
  return {.a = data(adapter.a), .b = data(adapter.b), .rank = adapter.a.size(0), .scale = static_cast<float>(adapter.scale)};
}

}  // namespace

engine::Shape shape_of(const LlamaConfig& config, int64_t outputs) {
  return {.width = config.hidden_size,
          .heads = config.num_attention_heads,
          .key_heads = config.num_key_value_heads,
          .head_size = config.head_size(),
          .inner = config.intermediate_size,
          .outputs = outputs,
          .norm_eps = static_cast<float>(config.rms_norm_eps)};
}

engine::Weights weights_of(const Llama& model, const at::Tensor& frequencies) {
  engine::Weights weights{
      .embedding = data(model.embedding), .layers = {}, .norm = data(model.norm), .head = nullptr, .frequencies = data(frequencies)};
  for (const auto& layer : model.layers)
    weights.layers.push_back({.input_norm = data(layer.input_norm),
                              .q = data(layer.q),
                              .k = data(layer.k),
                              .v = data(layer.v),
                              .o = data(layer.o),
                              .post_norm = data(layer.post_norm),
                              .gate = data(layer.gate),
                              .up = data(layer.up),
                              .down = data(layer.down),
                              .adapters = {.q = low_rank(layer.adapters.q),
                                           .k = low_rank(layer.adapters.k),
                                           .v = low_rank(layer.adapters.v),
                                           .o = low_rank(layer.adapters.o),
                                           .gate = low_rank(layer.adapters.gate),
                                           .up = low_rank(layer.adapters.up),
                                           .down = low_rank(layer.adapters.down)}});
  return weights;
}

bool can_be_packed(const Llama& model) {
  const engine::Shape shape = shape_of(model.config, model.head.defined() ? model.config.vocab_size : 1);
  return model.embedding.device().is_cpu() && model.embedding.scalar_type() == at::kFloat && model.embedding.is_contiguous() &&
         engine::packed_bytes(shape, std::ssize(model.layers)) <= kMostPackedBytes;
}

int threads_for(int64_t multiply_adds) {
  constexpr int64_t kLeast = 1'000'000;  // some ten microseconds of one core
  return multiply_adds < kLeast ? 1 : at::get_num_threads();
}

int threads_for(const Llama& model, int64_t tokens) {
  const int64_t weights = engine::packed_bytes(shape_of(model.config), std::ssize(model.layers)) / static_cast<int64_t>(sizeof(float));
  return threads_for(tokens * weights);
}

bool can_stay_packed(const Llama& model) {
  bool adapted = false;
  Llama handles = model;
  visit_adapters(handles, [&](const std::string&, const LowRank&) { adapted = true; });
  return !adapted && can_be_packed(model);
}

engine::Model packed_model(const Llama& model, const at::Tensor& head, engine::Team& team) {
  const at::NoGradGuard no_grad;
  TORCH_CHECK(model.embedding.is_contiguous(), "[policy.packed_model] the embedding must be contiguous");
  TORCH_CHECK(head.defined(), "[policy.packed_model] this model has no language-model head (a reward model's backbone?)");
  Llama source = model;
  visit_weights(source, [](const std::string&, at::Tensor& tensor) { tensor = tensor.contiguous(); });
  visit_adapters(source, [](const std::string&, LowRank& adapter) { adapter = {adapter.a.contiguous(), adapter.b.contiguous(), adapter.scale}; });
  const at::Tensor frequencies = rotary_frequencies(source.config).contiguous(), rows = head.contiguous();
  engine::Weights weights = weights_of(source, frequencies);
  weights.embedding = data(model.embedding);  // the one that lives on
  weights.head = data(rows);
  return engine::make_model(shape_of(source.config, head.size(0)), weights, team);
}

}  // namespace keel::policy
