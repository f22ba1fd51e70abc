// Log-probs of hidden states without all logits at once.
//
// Legend: N positions, D hidden size, V vocabulary.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "policy/logprobs.h"

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

}  // namespace

int64_t positions_at_once(const Llama& model, int64_t most_bytes) {
  return std::max<int64_t>(1, most_bytes / (model.config.vocab_size * static_cast<int64_t>(sizeof(float))));
}

at::Tensor state_logprobs(const Llama& model, const at::Tensor& states, const at::Tensor& targets, double temperature, int64_t most_bytes) {
  const int64_t at_once = positions_at_once(model, most_bytes);
  if (states.size(0) <= at_once) return target_logprobs(logits_of(model, states), targets, temperature);
  TORCH_CHECK(model.head.defined(), "[policy.state_logprobs] this model has no language-model head (a reward model's backbone?)");
  return ChunkedLogprobs::apply(states, model.head, targets, temperature, at_once);
}

}  // namespace keel::policy
