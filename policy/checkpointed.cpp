#include "policy/checkpointed.h"

#include <ATen/core/grad_mode.h>
#include <ATen/core/ivalue.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <utility>
#include <vector>

namespace keel::policy {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using Compute = std::function<at::Tensor(const LlamaLayer&, const at::Tensor&)>;

// The layer's tensors in one order.
template <class Layer, class Use>
void each_tensor(Layer& layer, Use&& use) {
  for (auto* tensor : {&layer.input_norm, &layer.q, &layer.k, &layer.v, &layer.o, &layer.post_norm, &layer.gate, &layer.up, &layer.down})
    use(*tensor);
  for (auto* adapter : layer.adapters.all())
    if (adapter->a.defined()) {
      use(adapter->a);
      use(adapter->b);
    }
}

struct Work : torch::CustomClassHolder {
  Work(LlamaLayer given, Compute how) : layer(std::move(given)), compute(std::move(how)) {}
  LlamaLayer layer;
  Compute compute;
};

struct Checkpointed : torch::autograd::Function<Checkpointed> {
  // inputs: x, then the layer's tensors
  static at::Tensor forward(AutogradContext* context, at::TensorList inputs, const c10::intrusive_ptr<Work>& work) {
    context->save_for_backward(variable_list(inputs.begin(), inputs.end()));
    context->saved_data["work"] = c10::IValue::make_capsule(work);
    return work->compute(work->layer, inputs[0]);  // without gradients: Function sees to that
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();  // refuses weights that have changed since
    const auto work = c10::static_intrusive_pointer_cast<Work>(context->saved_data["work"].toCapsule());
    variable_list inputs, wanted;
    for (size_t i = 0; i < saved.size(); ++i) {
      inputs.push_back(saved[i].detach().requires_grad_(context->needs_input_grad(i)));
      if (inputs.back().requires_grad()) wanted.push_back(inputs.back());
    }
    size_t next = 1;
    LlamaLayer layer = work->layer;
    each_tensor(layer, [&](at::Tensor& tensor) { tensor = inputs[next++]; });
    const at::AutoGradMode with_gradients(true);
    const variable_list found = torch::autograd::grad({work->compute(layer, inputs[0])}, wanted, {gradients[0]});
    variable_list made(saved.size() + 1);  // the last: what is no tensor
    next = 0;
    for (size_t i = 0; i < saved.size(); ++i)
      if (inputs[i].requires_grad()) made[i] = found[next++];
    return made;
  }
};

}  // namespace

at::Tensor checkpointed(const LlamaLayer& layer, const at::Tensor& x, const Compute& compute) {
  std::vector<at::Tensor> inputs{x};
  each_tensor(layer, [&](const at::Tensor& tensor) { inputs.push_back(tensor); });
  return Checkpointed::apply(at::TensorList(inputs), c10::make_intrusive<Work>(layer, compute));
}

}  // namespace keel::policy
