#include "ppo/validation.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <tuple>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/metrics.h"
#include "ppo/small_run.h"

using namespace keel::ppo;
using keel::core::Sample;
using keel::reward::AnswerReward;
using keel::test::digest;
using keel::test::likes_seven;
using keel::test::metric;
using keel::test::Models;
using keel::test::small_config;
using keel::test::small_job;

namespace {

PpoJob held_out_job() {
  PpoJob job = small_job();
  job.held_out = {.prompts = {{3, 3}, {8}, {1, 2, 9}}, .reward = likes_seven};
  return job;
}

// The k-th evaluation of a run has the k-th of these scores.
PpoJob scripted_job(std::vector<double> scores) {
  PpoJob job = held_out_job();
  job.held_out.reward = [scores = std::move(scores), next = size_t{0}](const std::vector<Sample>& samples) mutable {
    return std::vector<AnswerReward>(samples.size(), {.probability = scores.at(next++)});
  };
  return job;
}

struct LoggedEvaluation {
  int64_t iteration;
  double score, kl;
};

std::vector<LoggedEvaluation> evaluations(const std::filesystem::path& folder) {
  std::vector<LoggedEvaluation> found;
  for (const auto& point : keel::core::read_metrics(folder / "metrics.jsonl"))
    if (point.values.size() < 15) found.push_back({point.step, metric(point.values, "eval/scores"), metric(point.values, "eval/kl")});
  return found;
}

std::vector<int64_t> steps_of(const std::filesystem::path& file) {
  std::vector<int64_t> steps;
  for (const auto& point : keel::core::read_metrics(file))
    steps.push_back(point.step);
  return steps;
}

// The policy after this many iterations without held-out prompts.
std::string policy_after(int64_t iterations) {
  const keel::test::TemporaryFolder folder;
  const Models models;
  PpoConfig config = small_config();
  config.iterations = iterations;
  if (iterations > 0) train(models.policy, models.critic, small_job(), config, 1, folder.path());
  return digest(models.policy);
}

}  // namespace

TEST_CASE("validation: the best evaluation is the highest within the KL budget; a tie and a higher one beyond it count as no better",
          "[ppo]") {
  const ValidationConfig config{.kl_budget = 2, .patience = 3};
  Best best;
  CHECK(best.offer(0, .5, 0, config));
  CHECK_FALSE(best.offer(10, .5, 1, config));
  CHECK_FALSE(best.offer(20, .9, 2.1, config));
  CHECK_FALSE(best.patience_spent(config));
  CHECK(best.offer(30, .6, 2, config));
  CHECK(best.worse_since == 0);
  for (int64_t iteration : {40, 50, 60}) {
    CHECK_FALSE(best.patience_spent(config));
    CHECK_FALSE(best.offer(iteration, .1, 0, config));
  }
  CHECK(best.patience_spent(config));
  CHECK_FALSE(best.patience_spent({.kl_budget = 2, .patience = 0}));
  CHECK(best.iteration == 30);
  CHECK(best.offer(70, .7, 99, {}));  // no budget
}

TEST_CASE("validation: the start, every so many iterations and the end are evaluated, and the best weights are kept", "[ppo]") {
  const keel::test::TemporaryFolder folder;
  const Models models;
  PpoConfig config = small_config();
  config.iterations = 5;
  config.validation.every = 2;
  const PpoResult result = train(models.policy, models.critic, scripted_job({.2, .6, .4, .3}), config, 1, folder.path());
  const auto found = evaluations(folder.path());
  REQUIRE(found.size() == 4);
  for (const auto& [i, iteration, score] : {std::tuple{size_t{0}, 0, .2}, {size_t{1}, 2, .6}, {size_t{2}, 4, .4}, {size_t{3}, 5, .3}}) {
    CHECK(found[i].iteration == iteration);
    CHECK(found[i].score == Catch::Approx(score));
  }
  CHECK(result.iterations == 5);
  CHECK(result.kept_iteration == 2);
  CHECK(result.held_out_probability == Catch::Approx(.6));
  CHECK(digest(models.policy) == policy_after(2));
  CHECK(digest(result.policy) == digest(models.policy));
  CHECK_FALSE(models.policy.embedding.requires_grad());
}

TEST_CASE("validation: patience stops the run, and weights beyond the KL budget are not kept however good", "[ppo]") {
  PpoConfig config = small_config();
  config.iterations = 9;
  config.validation = {.every = 1, .kl_budget = 0, .patience = 2};
  {
    const keel::test::TemporaryFolder folder;
    const Models models;
    const PpoResult result = train(models.policy, models.critic, scripted_job({.2, .6, .5, .4}), config, 1, folder.path());
    CHECK(result.iterations == 3);
    CHECK(result.kept_iteration == 1);
    CHECK(digest(models.policy) == policy_after(1));
  }
  // Better each time, but further from the reference each time.
  const auto run = [&](double budget) {
    const keel::test::TemporaryFolder folder;
    const Models models;
    config.iterations = 4;
    config.schedule.learning_rate = .02;
    config.validation = {.every = 1, .kl_budget = budget, .patience = 0};
    const PpoResult result = train(models.policy, models.critic, scripted_job({.2, .3, .4, .5, .6}), config, 1, folder.path());
    return std::pair(evaluations(folder.path()), result.kept_iteration);
  };
  const auto [found, last] = run(0);
  CHECK(last == 4);
  double budget = 0;
  for (const LoggedEvaluation& evaluation : found)
    budget = std::max(budget, evaluation.kl);
  budget *= .999;  // only the furthest one exceeds it
  int64_t expected = 0;
  for (const LoggedEvaluation& evaluation : found)
    if (evaluation.kl <= budget) expected = evaluation.iteration;
  INFO("KL " << found[1].kl << " " << found[2].kl << " " << found[3].kl << " " << found[4].kl);
  CHECK(found[4].kl > budget);
  CHECK(run(budget).second == expected);
}

TEST_CASE("validation: every evaluation makes the same draws, so an unchanged policy has unchanged figures and a KL of 0", "[ppo]") {
  const keel::test::TemporaryFolder folder;
  const Models models;
  PpoConfig config = small_config();
  config.schedule.learning_rate = 0;
  config.validation.every = 1;
  train(models.policy, models.critic, held_out_job(), config, 1, folder.path());
  const auto found = evaluations(folder.path());
  REQUIRE(found.size() == 4);
  for (const LoggedEvaluation& evaluation : found) {
    CHECK(evaluation.score == found.front().score);
    CHECK(evaluation.kl == 0);
  }
}

TEST_CASE("validation: stopped at an evaluation, before it and between, the run ends bit for bit as if never stopped", "[ppo]") {
  const keel::test::TemporaryFolder folder;
  PpoConfig config = small_config();
  config.iterations = 6;
  config.validation = {.every = 2, .kl_budget = 0, .patience = 2};
  config.schedule.learning_rate = .01;
  const Models straight;
  const PpoResult expected = train(straight.policy, straight.critic, held_out_job(), config, 1, folder / "straight");
  CHECK(expected.kept_iteration > 0);

  for (int stop = 0; stop < 5; ++stop) {
    const Models models;
    PpoJob job = held_out_job();
    const auto interrupted = [stop, calls = 0](const std::vector<Sample>& samples) mutable {
      if (calls++ == stop % 2) {  // at once, or one call later
        keel::core::request_interrupt();
        if (stop < 4) keel::core::stop_if_interrupted("scoring");  // in the middle of the evaluation or iteration; else after it
      }
      return likes_seven(samples);
    };
    (stop % 3 == 0 ? job.held_out.reward : job.reward) = interrupted;
    INFO("stop " << stop);
    CHECK_THROWS_AS(train(models.policy, models.critic, job, config, 1, folder / "stopped"), keel::core::Interrupted);
    keel::core::clear_interrupt();
  }
  const Models models;
  const PpoResult result = train(models.policy, models.critic, held_out_job(), config, 1, folder / "stopped");
  CHECK(digest(models.policy) == digest(straight.policy));
  CHECK(digest(models.critic) == digest(straight.critic));
  CHECK(result.kept_iteration == expected.kept_iteration);
  CHECK(result.held_out_probability == expected.held_out_probability);
  CHECK(keel::test::read_text(folder / "stopped/metrics.jsonl") == keel::test::read_text(folder / "straight/metrics.jsonl"));
  CHECK(steps_of(folder / "stopped/timings.jsonl") == steps_of(folder / "straight/timings.jsonl"));  // the seconds differ
}

TEST_CASE("validation: killed between an evaluation and the next checkpoint, metrics and timings hold it once", "[ppo]") {
  const keel::test::TemporaryFolder folder;
  PpoConfig config = small_config();
  config.validation.every = 1;
  const auto run = [&](const char* name, const keel::reward::RewardFunction& reward) {
    const Models models;
    PpoJob job = held_out_job();
    job.reward = reward;
    train(models.policy, models.critic, job, config, 1, folder / name);
  };
  run("straight", likes_seven);
  CHECK_THROWS_AS(run("killed",
                      [](const std::vector<Sample>& samples) {
                        keel::core::request_interrupt();  // a checkpoint after the iteration, before its evaluation
                        return likes_seven(samples);
                      }),
                  keel::core::Interrupted);
  keel::core::clear_interrupt();
  CHECK_THROWS_AS(
      run("killed",
          [](const std::vector<Sample>&) -> std::vector<AnswerReward> { throw std::runtime_error("killed after the evaluation"); }),
      std::runtime_error);
  run("killed", likes_seven);
  CHECK(keel::test::read_text(folder / "killed/metrics.jsonl") == keel::test::read_text(folder / "straight/metrics.jsonl"));
  CHECK(steps_of(folder / "killed/timings.jsonl") == std::vector<int64_t>{0, 1, 1, 2, 2, 3, 3});
}

TEST_CASE("validation: without held-out prompts the last weights are kept, and settings that need some are refused", "[ppo]") {
  const keel::test::TemporaryFolder folder;
  const Models models;
  PpoConfig config = small_config();
  const PpoResult result = train(models.policy, models.critic, small_job(), config, 1, folder.path());
  CHECK(result.kept_iteration == 3);
  CHECK(std::isnan(result.held_out_probability));
  CHECK(evaluations(folder.path()).empty());
  config.validation.kl_budget = 1;
  config.validation.patience = 1;
  config.ptx.weight = 1;
  try {
    train(models.policy, models.critic, small_job(), config, 1, folder / "refused");
    FAIL("accepted");
  } catch (const keel::core::ConfigError& error) {
    CHECK(error.problems.size() == 3);
  }
}
