// Log-probs of hidden states without all logits at once.
//
// Legend: N positions, D hidden size, V vocabulary.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/core/ivalue.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "engine/head.h"
#include "policy/logprobs.h"
#include "policy/packed_model.h"

namespace keel::policy {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor logits_with(const at::Tensor& head, const at::Tensor& states) {
  return at::linear(states, head).to(at::kFloat);
}

// Calls `use` with begin and count of each chunk of positions.
template <class Use>
void each_chunk(int64_t positions, int64_t at_once, Use&& use) {
  for (int64_t begin = 0; begin < positions; begin += at_once)
    use(begin, std::min(at_once, positions - begin));
}

// lp = log softmax(z / T)[t] with z = W h, of [n, V] logits at a time. Backward, from g = dL / dlp and p = softmax(z / T):
// dL/dz = g / T * ([t] - p), dL/dh = dL/dz W, dL/dW = sum over positions of dL/dz^T h.
struct ChunkedLogprobs : torch::autograd::Function<ChunkedLogprobs> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& states, const at::Tensor& head, const at::Tensor& targets,
                            double temperature, int64_t at_once) {
    context->save_for_backward({states, head, targets});
    context->saved_data["temperature"] = temperature;
    context->saved_data["at_once"] = at_once;
    variable_list parts;
    each_chunk(states.size(0), at_once, [&](int64_t begin, int64_t count) {
      parts.push_back(target_logprobs(logits_with(head, states.narrow(0, begin, count)), targets.narrow(0, begin, count), temperature));
    });
    return at::cat(parts);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &states = saved[0], &head = saved[1], &targets = saved[2];
    const double temperature = context->saved_data["temperature"].toDouble();
    const bool of_states = context->needs_input_grad(0), of_head = context->needs_input_grad(1);
    const at::Tensor scaled = gradients[0] / temperature;  // [N]
    at::Tensor for_states = of_states ? at::empty_like(states) : at::Tensor(), for_head = of_head ? at::zeros_like(head) : at::Tensor();
    each_chunk(states.size(0), context->saved_data["at_once"].toInt(), [&](int64_t begin, int64_t count) {
      const at::Tensor h = states.narrow(0, begin, count), g = scaled.narrow(0, begin, count).unsqueeze(-1);
      at::Tensor logits = at::softmax(logits_with(head, h) / temperature, -1).mul_(-g);
      logits.scatter_add_(-1, targets.narrow(0, begin, count).unsqueeze(-1), g);
      logits = logits.to(head.scalar_type());
      if (of_states) for_states.narrow(0, begin, count).copy_(logits.mm(head));
      if (of_head) for_head.addmm_(logits.t(), h);
    });
    return {for_states, for_head, at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

// The same by the engine.
struct HeadPass : torch::CustomClassHolder {
  HeadPass(const at::Tensor& head, int64_t positions)
      : engine(head.const_data_ptr<float>(), head.size(0), head.size(1), threads_for(positions * head.numel())) {}
  engine::Head engine;
};

struct EngineLogprobs : torch::autograd::Function<EngineLogprobs> {
  // Log-probs, and entropies without gradients.
  static variable_list forward(AutogradContext* context, const at::Tensor& given, const at::Tensor& head, const at::Tensor& targets,
                               double temperature, int64_t most_bytes) {
    const at::Tensor states = given.contiguous(), ids = targets.contiguous();
    TORCH_CHECK(ids.numel() == states.size(0), "[policy.state_logprobs] ", states.size(0), " states need as many targets, got ",
                ids.numel());
    for (int64_t i = 0; i < ids.numel(); ++i)
      TORCH_CHECK(ids.const_data_ptr<int64_t>()[i] >= 0 && ids.const_data_ptr<int64_t>()[i] < head.size(0),
                  "[policy.state_logprobs] target ", ids.const_data_ptr<int64_t>()[i], " lies outside the vocabulary 0..",
                  head.size(0) - 1);
    const auto pass = c10::make_intrusive<HeadPass>(head, states.size(0));
    at::Tensor logprobs = at::empty({states.size(0)}, at::kFloat), entropies = at::empty_like(logprobs);
    pass->engine.forward(states.const_data_ptr<float>(), {ids.const_data_ptr<int64_t>(), static_cast<size_t>(ids.numel())},
                         static_cast<float>(1 / temperature), logprobs.mutable_data_ptr<float>(), entropies.mutable_data_ptr<float>(),
                         most_bytes);
    context->save_for_backward({states, head});
    context->saved_data["pass"] = c10::IValue::make_capsule(pass);
    context->mark_non_differentiable({entropies});
    return {logprobs, entropies};
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const auto pass = c10::static_intrusive_pointer_cast<HeadPass>(context->saved_data["pass"].toCapsule());
    const at::Tensor of_logprobs = gradients[0].contiguous();
    at::Tensor for_states, for_head;
    if (context->needs_input_grad(0)) for_states = at::empty_like(saved[0]);
    engine::GradientOf of_head;
    if (context->needs_input_grad(1)) of_head = gradient_of(saved[1], for_head);
    pass->engine.backward(of_logprobs.const_data_ptr<float>(), for_states.defined() ? for_states.mutable_data_ptr<float>() : nullptr,
                          of_head);
    return {for_states, for_head, at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

bool by_engine(const at::Tensor& states, const at::Tensor& head) {
  return states.is_cpu() && states.scalar_type() == at::kFloat && head.is_cpu() && head.scalar_type() == at::kFloat && head.is_contiguous();
}

}  // namespace

int64_t positions_at_once(const Llama& model, int64_t most_bytes) {
  return std::max<int64_t>(1, most_bytes / (model.config.vocab_size * static_cast<int64_t>(sizeof(float))));
}

StateLogprobs state_logprobs_and_entropies(const Llama& model, const at::Tensor& states, const at::Tensor& targets, double temperature,
                                           int64_t most_bytes) {
  TORCH_CHECK(model.head.defined(), "[policy.state_logprobs] this model has no language-model head (a reward model's backbone?)");
  if (by_engine(states, model.head)) {
    const bool learns = at::GradMode::is_enabled() && (states.requires_grad() || model.head.requires_grad());
    const variable_list both = EngineLogprobs::apply(states, model.head, targets, temperature, learns ? most_bytes : 0);
    return {both[0], both[1]};
  }
  const int64_t at_once = positions_at_once(model, most_bytes);
  variable_list entropies;
  {
    const at::NoGradGuard no_grad;
    each_chunk(states.size(0), at_once, [&](int64_t begin, int64_t count) {
      const at::Tensor logprobs = at::log_softmax(logits_with(model.head, states.narrow(0, begin, count)) / temperature, -1);
      entropies.push_back(-(logprobs.exp() * logprobs).sum(-1));
    });
  }
  return {state_logprobs(model, states, targets, temperature, most_bytes), entropies.empty() ? at::empty({0}) : at::cat(entropies).cpu()};
}

at::Tensor state_logprobs(const Llama& model, const at::Tensor& states, const at::Tensor& targets, double temperature, int64_t most_bytes) {
  TORCH_CHECK(model.head.defined(), "[policy.state_logprobs] this model has no language-model head (a reward model's backbone?)");
  if (by_engine(states, model.head)) return state_logprobs_and_entropies(model, states, targets, temperature, most_bytes).logprobs;
  const int64_t at_once = positions_at_once(model, most_bytes);
  const at::Tensor there = targets.to(states.device());
  const at::Tensor logprobs = states.size(0) <= at_once ? target_logprobs(logits_of(model, states), there, temperature)
                                                        : ChunkedLogprobs::apply(states, model.head, there, temperature, at_once);
  return logprobs.cpu();
}

}  // namespace keel::policy
