#include "ppo/train.h"

#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "core/error.h"
#include "core/files.h"
#include "core/interrupt.h"
#include "core/log.h"
#include "core/progress.h"
#include "policy/logprobs.h"
#include "ppo/draws.h"
#include "ppo/statistics.h"
#include "ppo/timing_log.h"
#include "ppo/trainer.h"
#include "runtime/checkpoint.h"
#include "runtime/tensor_file.h"

namespace keel::ppo {

namespace {

namespace fs = std::filesystem;

// What the settings ask for and the job does not bring.
std::vector<std::string> problems_of(const PpoJob& job, const PpoConfig& config) {
  std::vector<std::string> problems;
  if (config.ptx.weight > 0 && job.pretraining.empty()) problems.emplace_back("ptx.weight needs pretraining sequences, and there are none");
  if (job.held_out.prompts.empty()) {
    if (config.validation.kl_budget > 0) problems.emplace_back("validation.kl_budget needs held-out prompts, and there are none");
    if (config.validation.patience > 0) problems.emplace_back("validation.patience needs held-out prompts, and there are none");
  }
  return problems;
}

std::vector<core::Sample> sample_answers(const Trainer& trainer, const PpoJob& job, const PpoConfig& config, uint64_t seed) {
  const int64_t first = trainer.iteration() * config.batch_answers;
  const auto chosen = drawn_in_turn(first, config.batch_answers, std::ssize(job.prompts), seed, "ppo.prompts");
  policy::GenerationJob task{.sampling = config.sampling,
                             .stop_ids = job.stop_ids,
                             .seed = seed,
                             .purpose = "ppo",
                             .first_record = first,
                             .batch_rows = config.batch_rows};
  for (const int64_t index : chosen)
    task.prompts.push_back(job.prompts[static_cast<size_t>(index)]);
  auto samples = policy::generate(trainer.policy(), task);
  for (core::Sample& sample : samples)
    sample.prompt = chosen[static_cast<size_t>(sample.prompt)];
  return samples;
}

class Loop {
 public:
  Loop(const policy::Llama& policy, const reward::RewardModel& critic, const PpoJob& job, const PpoConfig& config, uint64_t seed,
       const fs::path& folder)
      : job_(job),
        config_(config),
        seed_(seed),
        folder_(folder),
        trainer_(policy, critic, config, seed),
        reference_(runtime::digest(policy::parameters(trainer_.reference()))),
        checkpointer_(folder),
        metrics_(folder, resume()),
        timings_(folder, trainer_.iteration()),
        progress_("ppo", config.iterations, "iterations", trainer_.iteration()) {
    if (trainer_.iteration() > 0)
      core::log_info(fmt::format("ppo goes on after iteration {}: {} of {} remain", trainer_.iteration(),
                                 config_.iterations - trainer_.iteration(), config_.iterations));
  }

  PpoResult run() {
    validate_if_due();
    while (!finished()) {
      iterate();
      if (core::interrupt_requested()) stop("after");
      validate_if_due();
      if (!finished() && checkpointer_.due()) save();
    }
    return keep();
  }

 private:
  bool holds_out() const { return !job_.held_out.prompts.empty(); }
  bool finished() const {
    return trainer_.iteration() >= config_.iterations || (!validation_due_ && best_.patience_spent(config_.validation));
  }

  void iterate() {
    Stopwatch watch;
    PpoTimes times;
    std::vector<core::Sample> samples;
    std::vector<reward::AnswerReward> earned;
    try {
      samples = sample_answers(trainer_, job_, config_, seed_);
      times.generation = watch.lap();
      earned = job_.reward(samples);
      times.scoring = watch.lap();
    } catch (const core::Interrupted&) {
      stop("in the iteration after");
    }
    const Rollout rollout = make_rollout(job_.prompts, samples);
    const Trainer::Experience experience = trainer_.assess(rollout, earned);
    times.assessment = watch.lap();
    core::MetricRow row = experience.metrics;
    append(row, source_metrics("objective/scores_source/", samples, earned, job_.sources));
    append(row, trainer_.update(rollout, experience, job_.pretraining));
    times.update = watch.lap();
    metrics_.log(trainer_.iteration(), row);
    timings_.log(trainer_.iteration(), row_of(times), static_cast<double>(rollout.answers()) / total(times));
    times_ += times;
    progress_.update(trainer_.iteration(),
                     fmt::format("scores {:.3f} kl {:.3f}", value_of(row, "objective/scores"), value_of(row, "objective/kl")));
    validation_due_ = holds_out() && (trainer_.iteration() % config_.validation.every == 0 || trainer_.iteration() == config_.iterations);
  }

  void validate_if_due() {
    if (!validation_due_) return;
    Stopwatch watch;
    core::MetricRow row;
    try {
      row = evaluate(trainer_.averaged_policy(), trainer_.reference(), job_.held_out, job_.stop_ids, config_, seed_);
    } catch (const core::Interrupted&) {
      stop("before the evaluation after");
    }
    validation_due_ = false;
    metrics_.log(trainer_.iteration(), row);
    if (best_.offer(trainer_.iteration(), value_of(row, "eval/scores"), value_of(row, "eval/kl"), config_.validation)) {
      core::make_directories(best_file().parent_path());
      runtime::save_sealed(best_file(), trainer_.kept(), {});
    }
    const PpoTimes times{.validation = watch.lap()};
    timings_.log(trainer_.iteration(), row_of(times));
    times_ += times;
  }

  // The weights that are kept go where the caller reads them.
  PpoResult keep() {
    if (best_.iteration >= 0) {
      trainer_.keep(runtime::load_sealed(best_file()).tensors);
      if (trainer_.iteration() < config_.iterations)
        core::log_info(fmt::format("ppo stops after iteration {}: {} evaluations in a row were no better than that of iteration {}",
                                   trainer_.iteration(), best_.worse_since, best_.iteration));
      if (best_.iteration == 0)
        core::log_warn(fmt::format("ppo keeps the weights it began with: after no iteration did the held-out prompts score higher{}",
                                   config_.validation.kl_budget > 0 ? " within validation.kl_budget" : ""));
    } else {
      trainer_.keep(runtime::by_name(trainer_.kept()));
    }
    if (config_.lora.rank > 0) {
      policy::save_lora(folder_ / "adapter", trainer_.policy(), config_.lora);
      if (config_.critic != "shared") policy::save_lora(folder_ / "critic_adapter", trainer_.critic().backbone, config_.lora);
    }
    const policy::Llama policy = policy::merged(trainer_.policy());
    PpoResult result{.times = times_,
                     .policy = policy,
                     .critic = {config_.critic == "shared" ? policy::backbone_of(policy) : policy::merged(trainer_.critic().backbone),
                                trainer_.critic().score},
                     .iterations = trainer_.iteration(),
                     .kept_iteration = best_.iteration >= 0 ? best_.iteration : trainer_.iteration()};
    if (best_.iteration >= 0) result.held_out_probability = best_.probability;
    return result;
  }

  [[noreturn]] void stop(const std::string& where) {
    save();
    throw core::Interrupted(fmt::format("ppo stopped {} iteration {} of {}; the same command goes on from there", where,
                                        trainer_.iteration(), config_.iterations));
  }

  void save() {
    metrics_.sync();
    const auto counters = trainer_.counters();
    checkpointer_.save(trainer_.state(), {{"iteration", counters.iteration},
                                          {"optimizer_steps", counters.optimizer_steps},
                                          {"kl_coefficient", counters.kl_coefficient},
                                          {"validation_due", validation_due_},
                                          {"best_iteration", best_.iteration},
                                          {"best_score", best_.probability},
                                          {"worse_since", best_.worse_since},
                                          {"metrics_offset", metrics_.offset()},
                                          {"reference", reference_}});
  }

  // Returns the offset of metrics.jsonl.
  int64_t resume() {
    validation_due_ = holds_out();  // the start is evaluated too: nothing worse than it is kept
    const auto loaded = checkpointer_.load();
    if (!loaded) return 0;
    const nlohmann::json state = nlohmann::json::parse(loaded->state);
    if (state.at("reference").get<std::string>() != reference_) {
      throw core::DataError(folder_ / "ckpt" / "state.safetensors", 0,
                            "began from another policy than the one given: its KL reference would change; delete ckpt/ to start over");
    }
    trainer_.restore(loaded->tensors, {.iteration = state.at("iteration").get<int64_t>(),
                                       .optimizer_steps = state.at("optimizer_steps").get<int64_t>(),
                                       .kl_coefficient = state.at("kl_coefficient").get<double>()});
    validation_due_ = state.at("validation_due").get<bool>();
    best_ = {.iteration = state.at("best_iteration").get<int64_t>(),
             .probability = state.at("best_score").get<double>(),
             .worse_since = state.at("worse_since").get<int64_t>()};
    return state.at("metrics_offset").get<int64_t>();
  }

  fs::path best_file() const { return folder_ / "ckpt" / "best.safetensors"; }

  const PpoJob& job_;
  PpoConfig config_;
  uint64_t seed_;
  fs::path folder_;
  bool validation_due_ = false;
  Best best_;
  PpoTimes times_;
  Trainer trainer_;
  std::string reference_;  // digest of its weights
  runtime::Checkpointer checkpointer_;
  core::Metrics metrics_;
  TimingLog timings_;
  core::Progress progress_;
};

}  // namespace

core::MetricRow row_of(const PpoTimes& times) {
  return {{"generation", times.generation}, {"scoring", times.scoring},       {"assessment", times.assessment},
          {"update", times.update},         {"validation", times.validation}, {"total", total(times)}};
}

double total(const PpoTimes& times) {
  return times.generation + times.scoring + times.assessment + times.update + times.validation;
}

PpoTimes& operator+=(PpoTimes& times, const PpoTimes& more) {
  times.generation += more.generation, times.scoring += more.scoring, times.assessment += more.assessment;
  times.update += more.update, times.validation += more.validation;
  return times;
}

reward::RewardModel make_critic(const PpoConfig& config, const policy::Llama& policy, const reward::RewardModel& reward_model) {
  const bool adapters = config.lora.rank > 0;
  if (config.critic == "reward") {
    if (!adapters) return reward::frozen_copy(reward_model);
    return {reward_model.backbone, reward_model.score.detach().clone()};  // its head is trained, its trunk is not
  }
  const at::Tensor head = policy.norm.new_zeros({1, policy.config.hidden_size}).detach();
  const policy::Llama trunk = policy::backbone_of(policy);
  return {adapters || config.critic == "shared" ? trunk : policy::frozen_copy(trunk), head};
}

PpoResult train(const policy::Llama& policy, const reward::RewardModel& critic, const PpoJob& job, const PpoConfig& config, uint64_t seed,
                const fs::path& folder) {
  TORCH_CHECK(!job.prompts.empty(), "[ppo.train] there are no prompts");
  TORCH_CHECK(job.sources.empty() || job.sources.size() == job.prompts.size(), "[ppo.train] need one source a prompt, got ",
              job.sources.size(), " for ", job.prompts.size());
  core::throw_if_any(problems_of(job, config));
  for (const core::TokenSequence& sequence : job.pretraining)
    policy::check_ids(policy, {sequence.ids});
  core::make_directories(folder);
  return Loop(policy, critic, job, config, seed, folder).run();
}

}  // namespace keel::ppo
