#include "reward/training_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/config.h"
#include "core/error.h"
#include "core/rng.h"
#include "policy/lora.h"

namespace keel::reward {

std::vector<int64_t> order_of_epochs(int64_t count, int64_t epochs, uint64_t seed, std::string_view purpose, std::string_view what) {
  constexpr double kMostItems = 1e8;  // the plan of the whole run is held in memory
  if (const double planned = static_cast<double>(epochs) * static_cast<double>(count); planned > kMostItems)
    throw core::ConfigError(
        {fmt::format("epochs: {:.3g} {} in all are more than the {:.0e} that one run can plan", planned, what, kMostItems)});
  std::vector<int64_t> order;
  for (int64_t epoch = 0; epoch < epochs; ++epoch) {
    const auto one = core::permutation(count, seed, purpose, static_cast<uint64_t>(epoch));
    order.insert(order.end(), one.begin(), one.end());
  }
  return order;
}

runtime::Parameters trained_parameters(const RewardModel& model, int64_t frozen_layers) {
  if (runtime::Parameters adapters = policy::lora_parameters(model.backbone); !adapters.empty()) {
    adapters.push_back({"score.weight", model.score});
    return adapters;
  }
  runtime::Parameters all = parameters(model);
  if (frozen_layers == 0) return all;
  std::erase_if(all, [&](const runtime::NamedTensor& weight) {
    if (weight.name.starts_with("model.embed_tokens.")) return true;
    for (int64_t layer = 0; layer < frozen_layers; ++layer)
      if (weight.name.starts_with(fmt::format("model.layers.{}.", layer))) return true;
    return false;
  });
  return all;
}

std::vector<std::string> problems_with(const HeadTrainConfig& config, const policy::LlamaConfig& shape) {
  if (config.frozen_layers <= shape.num_hidden_layers) return {};
  return {fmt::format("frozen_layers must be at most the {} layers of the model, got {}", shape.num_hidden_layers, config.frozen_layers)};
}

int64_t warmup_steps(const HeadTrainConfig& config, int64_t steps) {
  const auto of_share = static_cast<int64_t>(std::ceil(config.warmup_share * static_cast<double>(steps)));
  return std::min(std::max(of_share, config.warmup_min_steps), steps / 5);
}

void train_head(const HeadTrainConfig& config, const runtime::Parameters& weights, int64_t steps,
                const std::function<runtime::Measured(int64_t step)>& accumulate, const std::filesystem::path& folder,
                const std::string& label) {
  runtime::run_training({.label = label,
                         .steps = steps,
                         .parameters = weights,
                         .optimizer = config.optimizer,
                         .schedule = {.learning_rate = config.learning_rate,
                                      .schedule = runtime::Schedule::cosine,
                                      .final_ratio = config.final_ratio,
                                      .warmup_steps = warmup_steps(config, steps)},
                         .accumulate = accumulate,
                         .validate = {}},
                        folder);
}

}  // namespace keel::reward
