#include "ppo/train.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/files.h"
#include "core/interrupt.h"
#include "core/log.h"
#include "core/metrics.h"
#include "core/progress.h"
#include "core/rng.h"
#include "ppo/trainer.h"
#include "runtime/checkpoint.h"

namespace keel::ppo {

namespace {

class Stopwatch {
 public:
  // Seconds since the last call.
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    const double seconds = std::chrono::duration<double>(now - last_).count();
    last_ = now;
    return seconds;
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

// Indices of the prompts of one iteration: the run goes through all of them in a random order, then again in another.
std::vector<int64_t> prompts_of(int64_t iteration, const PpoConfig& config, int64_t prompts, uint64_t seed) {
  std::vector<int64_t> chosen, order;
  int64_t epoch = -1;
  for (int64_t i = iteration * config.batch_answers; i < (iteration + 1) * config.batch_answers; ++i) {
    if (i / prompts != epoch) {
      epoch = i / prompts;
      order = core::permutation(prompts, seed, "ppo.prompts", static_cast<uint64_t>(epoch));
    }
    chosen.push_back(order[static_cast<size_t>(i % prompts)]);
  }
  return chosen;
}

std::vector<core::Sample> sample_answers(const Trainer& trainer, const PpoJob& job, const PpoConfig& config, uint64_t seed) {
  const int64_t first = trainer.iteration() * config.batch_answers;
  const auto chosen = prompts_of(trainer.iteration(), config, std::ssize(job.prompts), seed);
  std::vector<core::Ids> prompts;
  for (const int64_t index : chosen)
    prompts.push_back(job.prompts[static_cast<size_t>(index)]);
  auto samples = policy::generate(trainer.policy(), prompts, 1, config.sampling, job.stop_ids, {.seed = seed, .purpose = "ppo"}, first);
  for (core::Sample& sample : samples)
    sample.prompt = chosen[static_cast<size_t>(sample.prompt)];
  return samples;
}

void save(const Trainer& trainer, const std::string& reference, core::Metrics& metrics, runtime::Checkpointer& checkpointer) {
  metrics.sync();
  const auto counters = trainer.counters();
  checkpointer.save(trainer.state(), {{"iteration", counters.iteration},
                                      {"optimizer_steps", counters.optimizer_steps},
                                      {"kl_coefficient", counters.kl_coefficient},
                                      {"metrics_offset", metrics.offset()},
                                      {"reference", reference}});
}

// Returns the offset of metrics.jsonl.
int64_t resume(Trainer& trainer, const std::string& reference, const runtime::Checkpointer& checkpointer,
               const std::filesystem::path& folder) {
  const auto loaded = checkpointer.load();
  if (!loaded) return 0;
  const nlohmann::json state = nlohmann::json::parse(loaded->state);
  if (state.at("reference").get<std::string>() != reference) {
    throw core::DataError(folder / "ckpt" / "state.safetensors", 0,
                          "began from another policy than the one given: its KL reference would change; delete ckpt/ to start over");
  }
  trainer.restore(loaded->tensors, {.iteration = state.at("iteration").get<int64_t>(),
                                    .optimizer_steps = state.at("optimizer_steps").get<int64_t>(),
                                    .kl_coefficient = state.at("kl_coefficient").get<double>()});
  return state.at("metrics_offset").get<int64_t>();
}

std::vector<core::Ids> answered(const std::vector<core::Ids>& prompts, const std::vector<core::Sample>& samples) {
  std::vector<core::Ids> rows;
  for (const core::Sample& sample : samples) {
    rows.push_back(prompts.at(static_cast<size_t>(sample.prompt)));
    rows.back().insert(rows.back().end(), sample.ids.begin(), sample.ids.end());
  }
  return rows;
}

}  // namespace

RewardFunction plain_reward(const reward::RewardModel& model, const std::vector<core::Ids>& prompts) {
  return [&](const std::vector<core::Sample>& samples) {
    std::vector<double> scores = reward::score_rows(model, answered(prompts, samples));
    for (double& score : scores)
      score = reward::probability(score);
    return scores;
  };
}

RewardFunction gated_reward(const reward::RewardModel& helpfulness, const reward::RewardModel& safety,
                            const std::vector<core::Ids>& prompts, std::vector<bool> is_safety, const reward::CombinationConfig& config) {
  TORCH_CHECK(is_safety.size() == prompts.size(), "[ppo.gated_reward] need one is_safety for each of ", prompts.size(), " prompts, got ",
              is_safety.size());
  return [&helpfulness, &safety, &prompts, is_safety = std::move(is_safety), config](const std::vector<core::Sample>& samples) {
    const std::vector<core::Ids> rows = answered(prompts, samples);
    const auto helpful = reward::score_rows(helpfulness, rows), safe = reward::score_rows(safety, rows);
    std::vector<double> combined;
    for (size_t i = 0; i < rows.size(); ++i) {
      combined.push_back(reward::combined_probability(helpful[i], safe[i], is_safety[static_cast<size_t>(samples[i].prompt)], config));
    }
    return combined;
  };
}

reward::RewardModel make_critic(const PpoConfig& config, const policy::Llama& policy, const reward::RewardModel& reward_model) {
  return config.critic == "reward" ? reward::frozen_copy(reward_model) : reward::make_reward_model(policy, "zeros", 0);
}

PpoTimes train(const policy::Llama& policy, const reward::RewardModel& critic, const PpoJob& job, const PpoConfig& config, uint64_t seed,
               const std::filesystem::path& folder) {
  TORCH_CHECK(!job.prompts.empty(), "[ppo.train] there are no prompts");
  Trainer trainer(policy, critic, config, seed);
  const std::string reference = runtime::digest(policy::parameters(trainer.reference()));
  core::make_directories(folder);
  runtime::Checkpointer checkpointer(folder);
  core::Metrics metrics(folder, resume(trainer, reference, checkpointer, folder));
  if (trainer.iteration() > 0)
    core::log_info(fmt::format("ppo goes on after iteration {}: {} of {} remain", trainer.iteration(),
                               config.iterations - trainer.iteration(), config.iterations));
  core::Progress progress("ppo", config.iterations, "iterations", trainer.iteration());
  PpoTimes times;
  while (trainer.iteration() < config.iterations) {
    Stopwatch watch;
    std::vector<core::Sample> samples;
    std::vector<double> probability;
    try {
      samples = sample_answers(trainer, job, config, seed);
      times.generation += watch.lap();
      probability = job.reward(samples);
      times.scoring += watch.lap();
    } catch (const core::Interrupted&) {
      save(trainer, reference, metrics, checkpointer);
      throw core::Interrupted(fmt::format("ppo stopped in iteration {} of {}; the same command goes on from its start",
                                          trainer.iteration() + 1, config.iterations));
    }
    const Rollout rollout = make_rollout(job.prompts, samples);
    const Trainer::Experience experience = trainer.assess(rollout, probability);
    times.assessment += watch.lap();
    core::MetricRow row = experience.metrics;
    for (auto& entry : trainer.update(rollout, experience))
      row.push_back(std::move(entry));
    times.update += watch.lap();
    metrics.log(trainer.iteration(), row);
    progress.update(trainer.iteration(), fmt::format("scores {:.3f} kl {:.3f}", row[0].second, row[1].second));
    if (core::interrupt_requested()) {
      save(trainer, reference, metrics, checkpointer);
      throw core::Interrupted(
          fmt::format("ppo stopped after iteration {} of {}; the same command goes on from there", trainer.iteration(), config.iterations));
    }
    if (trainer.iteration() < config.iterations && checkpointer.due()) save(trainer, reference, metrics, checkpointer);
  }
  runtime::set_trainable(policy::parameters(policy), false);
  runtime::set_trainable(reward::parameters(critic), false);
  return times;
}

}  // namespace keel::ppo
