#include "runtime/training.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/files.h"
#include "core/interrupt.h"
#include "core/json.h"
#include "core/log.h"
#include "core/progress.h"
#include "runtime/checkpoint.h"
#include "runtime/dist/ranks.h"
#include "runtime/tensor_file.h"

namespace keel::runtime {
namespace {

struct Position {
  int64_t step = 0;  // steps done
  int64_t metrics_offset = 0;
  bool validation_due = false;  // the last step's validation is still to be done
  TrainingResult result{.best_step = 0, .best = std::numeric_limits<double>::quiet_NaN()};
};

Position resume(const TrainingJob& job, const Checkpointer& checkpointer, AdamW& optimizer) {
  const auto loaded = checkpointer.load();
  if (!loaded) return {};
  const nlohmann::json state = nlohmann::json::parse(loaded->state);
  restore(loaded->tensors, job.parameters);
  optimizer.load_state(loaded->tensors, state.at("step").get<int64_t>());
  const auto& best = state.at("best");
  return {.step = state.at("step").get<int64_t>(),
          .metrics_offset = state.at("metrics_offset").get<int64_t>(),
          .validation_due = state.value("validation_due", false),
          .result = {.best_step = state.at("best_step").get<int64_t>(),
                     .best = best.is_null() ? std::numeric_limits<double>::quiet_NaN() : best.get<double>()}};
}

void save(const TrainingJob& job, const Position& position, core::Metrics& metrics, const AdamW& optimizer, Checkpointer& checkpointer) {
  metrics.sync();
  Parameters tensors = job.parameters;
  for (auto& moment : optimizer.state())
    tensors.push_back(std::move(moment));
  checkpointer.save(tensors, {{"step", position.step},
                              {"metrics_offset", metrics.offset()},
                              {"validation_due", position.validation_due},
                              {"best_step", position.result.best_step},
                              {"best", position.result.best}});
}

double update(AdamW& optimizer, double rate, const TrainingJob& job) {
  try {
    return optimizer.step(rate);
  } catch (const core::UsageError& error) {
    throw core::UsageError(fmt::format("{}: {}", job.label, error.what()));
  }
}

}  // namespace

TrainingResult run_training(const TrainingJob& job, const std::filesystem::path& folder) {
  core::make_directories(folder);
  set_trainable(job.parameters, true);
  AdamW optimizer(job.parameters, job.optimizer);
  Checkpointer checkpointer(folder);
  Position position = resume(job, checkpointer, optimizer);
  core::Metrics metrics(folder, position.metrics_offset);
  if (position.step > 0)
    core::log_info(
        fmt::format("{} goes on after step {}: {} of {} remain", job.label, position.step, job.steps - position.step, job.steps));
  core::Progress progress(job.label, job.steps, "steps", position.step);
  const auto best_file = folder / "ckpt" / "best.safetensors";

  const auto stop = [&] {
    save(job, position, metrics, optimizer, checkpointer);
    throw core::Interrupted(
        fmt::format("{} stopped after step {} of {}; the same command goes on from there", job.label, position.step, job.steps));
  };
  const auto validate = [&] {
    if (!position.validation_due) return;
    const at::NoGradGuard no_grad;
    Measured held_out;
    try {
      held_out = job.validate();
    } catch (const core::Interrupted&) {
      stop();
    }
    position.validation_due = false;
    metrics.log(position.step, held_out.metrics);
    if (!std::isnan(position.result.best) && !(held_out.loss < position.result.best)) return;
    position.result = {.best_step = position.step, .best = held_out.loss};
    core::make_directories(best_file.parent_path());
    save_sealed(best_file, job.parameters, {});
  };

  if (dist::size() > 1)
    dist::check_equal(fmt::format("the weights before step {} of {}", position.step + 1, job.label), digest(job.parameters));
  validate();
  while (position.step < job.steps) {
    auto [loss, row] = job.accumulate(position.step);
    const double rate = learning_rate(job.schedule, position.step, job.steps);
    row.emplace_back("grad_norm", update(optimizer, rate, job));
    row.emplace_back("lr", rate);
    ++position.step;
    metrics.log(position.step, row);
    progress.update(position.step, fmt::format("loss {:.4f}", loss));
    const bool last = position.step == job.steps;
    position.validation_due = job.validate && (last || (job.validate_every > 0 && position.step % job.validate_every == 0));
    if (core::interrupt_requested()) stop();
    validate();
    // Also after the last step: an interruption of a later scoring of held-out data then costs only that scoring.
    if (last || checkpointer.due()) save(job, position, metrics, optimizer, checkpointer);
  }
  set_trainable(job.parameters, false);
  if (job.validate && position.result.best_step != job.steps) restore(load_sealed(best_file).tensors, job.parameters);
  if (!job.validate) position.result.best_step = job.steps;
  return position.result;
}

}  // namespace keel::runtime
