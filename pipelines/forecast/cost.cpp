#include "pipelines/forecast/cost.h"

namespace keel::pipelines::forecast {

Cost cost_of(const policy::LlamaConfig& shape) {
  const auto d = static_cast<double>(shape.hidden_size), f = static_cast<double>(shape.intermediate_size),
             layers = static_cast<double>(shape.num_hidden_layers), vocabulary = static_cast<double>(shape.vocab_size),
             queries = static_cast<double>(shape.num_attention_heads * shape.head_size()),
             keys = static_cast<double>(shape.num_key_value_heads * shape.head_size());
  const double trunk = layers * (2 * d * queries + 2 * d * keys + 3 * d * f), head = vocabulary * d;
  return {.trunk = trunk,
          .head = head,
          .weights = trunk + head * (shape.tie_word_embeddings ? 1 : 2) + d * (2 * layers + 1),
          .attention = 4 * layers * queries,
          .keys = 2 * layers * keys,
          .width = d,
          .kept = 4 * d + 2 * keys + 2 * f,
          .layers = layers,
          .vocabulary = vocabulary};
}

AdapterCost adapter_cost(const policy::LlamaConfig& shape, const policy::LoraConfig& lora) {
  AdapterCost cost;
  policy::Llama model = policy::empty_llama(shape, c10::kMeta);  // shapes alone
  policy::visit_targets(model, lora, [&](const std::string&, const at::Tensor& weight, policy::LowRank&) {
    cost.weights += static_cast<double>(lora.rank * (weight.size(0) + weight.size(1)));
    cost.adapted += static_cast<double>(weight.numel());
    cost.kept += static_cast<double>(lora.rank) / static_cast<double>(shape.num_hidden_layers);
  });
  return cost;
}

double read_flop(const Cost& cost, double tokens, double length, double scored) {
  return tokens * (2 * cost.trunk + cost.attention * length / 2) + scored * 2 * cost.head;
}

double trained_flop(const Cost& cost, double tokens, double length, double targets, const Trained& what) {
  const double forward = read_flop(cost, tokens, length, targets);
  const double input_gradients = forward, weight_gradients = what.adapters ? 0 : tokens * 2 * cost.trunk + targets * 2 * cost.head,
               attention_again = tokens * cost.attention * length / 2;  // its backward pass has twice the products of the forward one
  const double trunk_again = what.again ? read_flop(cost, tokens, length) : 0;
  return forward + what.share * (input_gradients + weight_gradients + attention_again + trunk_again);
}

double written_flop(const Cost& cost, double tokens, double context) {
  return tokens * (2 * (cost.trunk + cost.head) + cost.attention * context);
}

}  // namespace keel::pipelines::forecast
