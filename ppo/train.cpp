#include "ppo/train.h"

#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "core/error.h"
#include "core/files.h"
#include "core/interrupt.h"
#include "core/json.h"
#include "core/log.h"
#include "core/progress.h"
#include "core/row_log.h"
#include "policy/logprobs.h"
#include "policy/lora.h"
#include "ppo/draws.h"
#include "ppo/statistics.h"
#include "ppo/stopwatch.h"
#include "ppo/trainer.h"
#include "runtime/checkpoint.h"
#include "runtime/dist/ranks.h"
#include "runtime/tensor_file.h"

namespace keel::ppo {

namespace {

namespace fs = std::filesystem;

// Settings that need something that the job does not have.
std::vector<std::string> problems_of(const PpoJob& job, const PpoConfig& config) {
  std::vector<std::string> problems;
  if (config.ptx.weight > 0 && job.pretraining.empty()) problems.emplace_back("ptx.weight needs pretraining sequences, and there are none");
  if (!job.holds_out()) {
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

// timings.jsonl has the seconds of each iteration by phase. Times differ between runs, so they stay out of metrics.jsonl, which is
// reproducible.
std::string timing_line(int64_t iteration, const PpoTimes& times, std::optional<double> answers_per_second = {}) {
  nlohmann::json row = {{"step", iteration}};
  if (answers_per_second) row["eps"] = *answers_per_second;
  for (const auto& [name, seconds] : row_of(times))
    row["timing_s/" + name] = seconds;
  return core::dump_json(row);
}

// The state of a run besides its trainer's. All of it is in the checkpoint.
struct Position {
  bool validation_due = false;
  Best best = {};
  int64_t metrics_offset = 0, timings_offset = 0;
};

// The position of the last checkpoint, whose weights and counters go to the trainer; the start if there is none. `reference` is the digest
// of the reference policy.
Position resume(Trainer& trainer, const runtime::Checkpointer& checkpointer, const PpoJob& job, const std::string& reference,
                const fs::path& folder) {
  const auto loaded = checkpointer.load();
  if (!loaded) return {.validation_due = job.holds_out()};  // the start is evaluated too, so that nothing worse is kept
  const nlohmann::json state = nlohmann::json::parse(loaded->state);
  if (state.at("reference").get<std::string>() != reference) {
    throw core::DataError(folder / "ckpt" / "state.safetensors", 0,
                          "began from another policy than the one given: its KL reference would change; delete ckpt/ to start over");
  }
  trainer.restore(loaded->tensors, {.iteration = state.at("iteration").get<int64_t>(),
                                    .optimizer_steps = state.at("optimizer_steps").get<int64_t>(),
                                    .kl_coefficient = state.at("kl_coefficient").get<double>()});
  return {.validation_due = state.at("validation_due").get<bool>(),
          .best = {.iteration = state.at("best_iteration").get<int64_t>(),
                   .probability = state.at("best_probability").get<double>(),
                   .worse_since = state.at("worse_since").get<int64_t>()},
          .metrics_offset = state.at("metrics_offset").get<int64_t>(),
          .timings_offset = state.value("timings_offset", int64_t{0})};
}

// A run from `position` on. `trainer` already has the state of `position`, so members do not depend on each other's initialisation.
class Loop {
 public:
  Loop(const PpoJob& job, const PpoConfig& config, uint64_t seed, const fs::path& folder, Trainer& trainer,
       runtime::Checkpointer& checkpointer, const Position& position, std::string reference)
      : job_(job),
        config_(config),
        seed_(seed),
        folder_(folder),
        trainer_(trainer),
        checkpointer_(checkpointer),
        reference_(std::move(reference)),
        validation_due_(position.validation_due),
        best_(position.best),
        metrics_(folder, position.metrics_offset),
        timings_(folder / "timings.jsonl", position.timings_offset),
        progress_("ppo", config.iterations, "iterations", trainer.iteration()) {
    if (trainer.iteration() > 0)
      core::log_info(fmt::format("ppo goes on after iteration {}: {} of {} remain", trainer.iteration(),
                                 config.iterations - trainer.iteration(), config.iterations));
  }

  PpoResult run() {
    if (runtime::dist::size() > 1) runtime::dist::check_equal("the weights before PPO's next step", runtime::digest(trainer_.weights()));
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
    timings_.append(timing_line(trainer_.iteration(), times, static_cast<double>(rollout.answers()) / total(times)));
    times_ += times;
    progress_.update(trainer_.iteration(), fmt::format("probability {:.3f} KL {:.3f}", mean_probability(earned), experience.kl));
    validation_due_ =
        job_.holds_out() && (trainer_.iteration() % config_.validation.every == 0 || trainer_.iteration() == config_.iterations);
  }

  void validate_if_due() {
    if (!validation_due_) return;
    Stopwatch watch;
    Evaluation held_out;
    try {
      held_out = evaluate(trainer_.averaged_policy(), trainer_.reference(), job_.held_out, job_.stop_ids, config_, seed_);
    } catch (const core::Interrupted&) {
      stop("before the evaluation after");
    }
    validation_due_ = false;
    metrics_.log(trainer_.iteration(), held_out.metrics);
    if (best_.offer(trainer_.iteration(), held_out.probability, held_out.kl, config_.validation)) {
      core::make_directories(best_file().parent_path());
      runtime::save_sealed(best_file(), trainer_.kept(), {});
    }
    const PpoTimes times{.validation = watch.lap()};
    timings_.append(timing_line(trainer_.iteration(), times));
    times_ += times;
  }

  // Puts the kept weights where the caller reads them.
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
      if (config_.critic != Critic::shared) policy::save_lora(folder_ / "critic_adapter", trainer_.critic().backbone, config_.lora);
    }
    const policy::Llama policy = policy::merged(trainer_.policy());
    PpoResult result{.times = times_,
                     .policy = policy,
                     .critic = {config_.critic == Critic::shared ? policy::backbone_of(policy) : policy::merged(trainer_.critic().backbone),
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
    timings_.sync();
    const auto counters = trainer_.counters();
    checkpointer_.save(trainer_.state(), {{"iteration", counters.iteration},
                                          {"optimizer_steps", counters.optimizer_steps},
                                          {"kl_coefficient", counters.kl_coefficient},
                                          {"validation_due", validation_due_},
                                          {"best_iteration", best_.iteration},
                                          {"best_probability", best_.probability},
                                          {"worse_since", best_.worse_since},
                                          {"metrics_offset", metrics_.offset()},
                                          {"timings_offset", timings_.offset()},
                                          {"reference", reference_}});
  }

  fs::path best_file() const { return folder_ / "ckpt" / "best.safetensors"; }

  const PpoJob& job_;
  const PpoConfig& config_;
  uint64_t seed_;
  fs::path folder_;
  Trainer& trainer_;
  runtime::Checkpointer& checkpointer_;
  std::string reference_;  // digest of its weights
  bool validation_due_;
  Best best_;
  PpoTimes times_;
  core::Metrics metrics_;
  core::RowLog timings_;
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

reward::RewardModel make_critic(const PpoConfig& config, const policy::Llama& policy,
                                const std::optional<reward::RewardModel>& reward_model) {
  const bool adapters = config.lora.rank > 0;
  if (config.critic == Critic::reward) {
    const policy::Llama trunk = policy::merged(reward_model.value().backbone);
    if (!adapters) return reward::frozen_copy({trunk, reward_model.value().score});
    return {trunk, reward_model.value().score.detach().clone()};  // its head is trained, its trunk is not
  }
  const at::Tensor head = policy.norm.new_zeros({1, policy.config.hidden_size}).detach();
  const policy::Llama trunk = policy::backbone_of(policy);
  return {adapters || config.critic == Critic::shared ? trunk : policy::frozen_copy(trunk), head};
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
  Trainer trainer(policy, critic, config, seed);
  const std::string reference = runtime::digest(policy::parameters(trainer.reference()));
  runtime::Checkpointer checkpointer(folder);
  const Position position = resume(trainer, checkpointer, job, reference, folder);
  return Loop(job, config, seed, folder, trainer, checkpointer, position, reference).run();
}

}  // namespace keel::ppo
