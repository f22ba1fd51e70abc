#include "pipelines/forecast/memory.h"

#include <algorithm>
#include <string>
#include <vector>

#include "pipelines/forecast/work.h"

namespace keel::pipelines::forecast {
namespace {

constexpr double kMoments = 12;  // bytes of gradient and two moments of a trained number
constexpr double kGradient = 4;

// Numbers that learn, in fp32, with gradients, those of further workers, and moments.
double trained_bytes(double numbers, double workers) {
  return numbers * (4 + kMoments + kGradient * (workers - 1));
}

// Adapters that learn, and the fp32 matrices that they are merged into at the end.
double adapter_bytes(const Run& run, const policy::LoraConfig& lora, double workers) {
  const AdapterCost cost = adapter_cost(run.shape, lora);
  return trained_bytes(cost.weights, workers) + 4 * cost.adapted;
}

// The sections of the run that train; a version of reward models alone has neither rejection sampling nor PPO.
std::vector<const policy::LoraConfig*> trained_by(const Run& run) {
  std::vector<const policy::LoraConfig*> sections = {&run.recipe.reward.lora};
  if (run.recipe.sft.enabled) sections.push_back(&run.recipe.sft.lora);
  for (const std::string& version : run.recipe.versions) {
    if (version == "rejection") sections.push_back(&run.recipe.rejection.sft.lora);
    if (version == "ppo") sections.push_back(&run.recipe.ppo.lora);
  }
  return sections;
}

// Weights, what training keeps of the `trained` numbers among them, and further workers' gradients.
double state_bytes(const Run& run, double weights, double trained, const policy::LoraConfig& lora, double workers) {
  const double saved = run.numbers.bf16_base ? 2 * run.cost.trunk : 0;
  if (lora.rank > 0) return run.numbers.weight * weights - saved + adapter_bytes(run, lora, workers);
  return trained_bytes(trained, workers) + 4 * (weights - trained);
}

// With gradient checkpointing the layers' inputs and what one layer keeps.
double activation_bytes(const Run& run, double tokens, double layers, const policy::LoraConfig& lora, bool checkpointing, double workers) {
  const double kept = run.cost.kept + adapter_cost(run.shape, lora).kept;
  return workers * tokens * 4 * (checkpointing ? layers * run.cost.width + kept : layers * kept);
}

double packed_bytes(const Run& run, double models) {
  const double one = run.numbers.packed * run.held_bytes();
  return one <= run.numbers.packed_limit ? models * one : 0;
}

double logit_bytes(const Run& run, double tokens, double workers) {
  return workers * std::min(268435456 + 1024 * run.cost.vocabulary, 4 * tokens * run.cost.vocabulary);
}

}  // namespace

double Run::held_bytes(double models) const {
  double adapted = 0;
  for (const policy::LoraConfig* lora : trained_by(*this)) {
    if (lora->rank == 0) return models * numbers.weight * cost.weights;
    adapted = std::max(adapted, adapter_cost(shape, *lora).adapted);
  }
  const double saved = numbers.bf16_base ? 2 * (cost.trunk - adapted) : 0;
  return numbers.weight * (cost.weights + (models - 1) * adapted) - saved;
}

double scoring_bytes(const Run& run, double models) {
  return run.held_bytes(models) + packed_bytes(run, models);
}

double cache_bytes(const Run& run, int64_t rows, double tokens) {
  return run.numbers.workers * static_cast<double>(rows) * tokens * run.numbers.weight * run.cost.keys;
}

double tuning_bytes(const Run& run, const policy::BatchConfig& batch, const policy::LoraConfig& lora) {
  const auto tokens = static_cast<double>(batch.micro_rows * batch.row_tokens);
  return state_bytes(run, run.cost.weights, run.cost.weights, lora, run.numbers.trainers) +
         activation_bytes(run, tokens, run.cost.layers, lora, batch.gradient_checkpointing, run.numbers.trainers) +
         logit_bytes(run, tokens, run.numbers.trainers);
}

// A backbone without a head of its own; frozen layers freeze the embedding, too.
double reward_bytes(const Run& run) {
  const recipe::RewardSection& config = run.recipe.reward;
  const double layers = run.cost.layers - static_cast<double>(config.frozen_layers);
  const double weights = run.cost.trunk + run.cost.head;
  return state_bytes(run, weights, config.frozen_layers > 0 ? run.cost.trunk * layers / run.cost.layers : weights, config.lora,
                     run.numbers.trainers) +
         activation_bytes(run, static_cast<double>(config.micro_tokens), layers, config.lora, config.gradient_checkpointing,
                          run.numbers.trainers);
}

// The model that is fine-tuned is there while the policy answers and the reward models score.
double rejection_bytes(const Run& run) {
  const recipe::RejectionSection& config = run.recipe.rejection;
  return std::max(run.held_bytes(4) + packed_bytes(run, 3) + cache_bytes(run, config.batch_rows, row_length(run)),
                  tuning_bytes(run, config.sft.batch, config.sft.lora));
}

double ppo_bytes(const Run& run) {
  const ppo::PpoConfig& config = run.recipe.ppo;
  const bool shared = config.critic == ppo::Critic::shared, adapters = config.lora.rank > 0;
  const double row = row_length(run),
               tokens = std::min(static_cast<double>(config.micro_tokens), row * static_cast<double>(config.micro_answers));
  const double workers = run.numbers.workers, models = shared ? 1 : 2;  // that are trained, and whose activations are there together
  // With adapters the reference is the policy's own base, and a critic is built on the reward model's or the policy's.
  const double trained =
      models * (adapters ? adapter_bytes(run, config.lora, workers) : state_bytes(run, run.cost.weights, run.cost.weights, {}, workers));
  return trained + run.held_bytes(3) + packed_bytes(run, 3) +
         models * activation_bytes(run, tokens, run.cost.layers, config.lora, config.gradient_checkpointing, workers) +
         logit_bytes(run, tokens, workers) + cache_bytes(run, std::min(config.batch_rows, config.batch_answers), row);
}

}  // namespace keel::pipelines::forecast
