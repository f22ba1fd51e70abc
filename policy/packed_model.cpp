#include "policy/packed_model.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty_like.h>

#include "policy/arithmetic.h"
#include "policy/layers.h"
#include "runtime/gradient_sums.h"

namespace keel::policy {
namespace {

constexpr size_t kMostPackedBytes = size_t{2} << 30;

const float* data(const at::Tensor& tensor) {
  return tensor.const_data_ptr<float>();
}

engine::Stored stored(const at::Tensor& weight) {
  if (weight.scalar_type() == at::kFloat) return data(weight);
  return reinterpret_cast<const uint16_t*>(weight.const_data_ptr<at::BFloat16>());
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
  for (const auto& layer : model.layers) {
    weights.layers.push_back({.input_norm = data(layer.input_norm),
                              .q = stored(layer.q),
                              .k = stored(layer.k),
                              .v = stored(layer.v),
                              .o = stored(layer.o),
                              .post_norm = data(layer.post_norm),
                              .gate = stored(layer.gate),
                              .up = stored(layer.up),
                              .down = stored(layer.down)});
    for (size_t p = 0; p < layer.adapters.all().size(); ++p)
      *weights.layers.back().adapters.all()[p] = low_rank(*layer.adapters.all()[p]);
  }
  return weights;
}

engine::GradientOf gradient_of(const at::Tensor& weight, at::Tensor& made) {
  if (const auto sum = runtime::GradientPlace::of(weight); sum.to != nullptr)
    return {.to = sum.to, .into = sum.add ? engine::Into::add : engine::Into::replace};
  made = at::empty_like(weight);
  return {.to = made.mutable_data_ptr<float>()};
}

bool engine_takes(const Llama& model) {
  bool taken = true;
  const auto look = [&](const at::Tensor& tensor, bool is_matrix) {
    const bool bf16 = is_matrix && tensor.scalar_type() == at::kBFloat16 && !tensor.requires_grad();
    taken = taken && tensor.is_cpu() && tensor.is_contiguous() && (bf16 || tensor.scalar_type() == at::kFloat);
  };
  Llama handles = model;
  visit_weights(handles, [&](const std::string& name, const at::Tensor& weight) { look(weight, may_be_bf16(name)); });
  visit_adapters(handles, [&](const std::string&, const LowRank& adapter) {
    look(adapter.a, false);
    look(adapter.b, false);
  });
  return taken;
}

int threads_for(int64_t multiply_adds) {
  constexpr int64_t kLeast = 1'000'000;  // some ten microseconds of one core
  return multiply_adds < kLeast ? 1 : at::get_num_threads();
}

int threads_for(const Llama& model, int64_t tokens) {
  return threads_for(tokens * std::ssize(model.layers) * engine::layer_numbers(shape_of(model.config)));
}

bool threads_share(const Llama& model) {
  return engine_takes(model) && threads_share(model.config);
}

bool threads_share(const LlamaConfig& shape) {
  constexpr int64_t kLeast = 4'000'000;
  return shape.num_hidden_layers * engine::layer_numbers(shape_of(shape)) + shape.vocab_size * shape.hidden_size >= kLeast;
}

bool can_be_packed(const Llama& model) {
  size_t bytes = 0;
  const auto add = [&](const at::Tensor& matrix) {
    bytes += computes_in_bf16() ? 2 * static_cast<size_t>(matrix.numel()) : matrix.nbytes();
  };
  for (const LlamaLayer& layer : model.layers)
    for (const at::Tensor* matrix : {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down})
      add(*matrix);
  if (model.head.defined()) add(model.head);
  return bytes <= kMostPackedBytes;
}

bool can_stay_packed(const Llama& model) {
  bool adapted = false;
  Llama handles = model;
  visit_adapters(handles, [&](const std::string&, const LowRank&) { adapted = true; });
  return !adapted && can_be_packed(model);
}

engine::Model packed_model(const Llama& model, const at::Tensor& head, engine::Layout layout, engine::Team& team) {
  TORCH_CHECK(engine_takes(model), "[policy.packed_model] weights must be contiguous, on the CPU, in fp32, or bf16 where they are frozen");
  TORCH_CHECK(head.defined(), "[policy.packed_model] this model has no language-model head (a reward model's backbone?)");
  TORCH_CHECK(head.is_contiguous() && head.scalar_type() == at::kFloat, "[policy.packed_model] the head must be contiguous and fp32");
  const at::Tensor frequencies = rotary_frequencies(model.config).contiguous();
  engine::Weights weights = weights_of(model, frequencies);
  weights.head = data(head);
  return engine::make_model(shape_of(model.config, head.size(0)), weights, layout, team);
}

}  // namespace keel::policy
