#include "runtime/training.h"

#include <cmath>
#include <stdexcept>

#include "core/error.h"
#include "core/interrupt.h"
#include "support/test.h"

using keel::runtime::run_training;
using keel::runtime::TrainingJob;
using keel::runtime::TrainingResult;

namespace {

// Pulls w from 0 towards 1; validation asks for 0.5, which w passes on the way.
struct Pull {
  at::Tensor w = at::zeros({3});
  int64_t interrupt_at = -1, crash_at = -1;  // while this step's batch is computed
  int64_t steps_done = 0;
  bool interrupt_validation = false;

  TrainingJob job(int64_t steps) {
    return {.label = "pull",
            .steps = steps,
            .parameters = {{"w", w}},
            .optimizer = {.weight_decay = 0},
            .schedule = {.learning_rate = .15, .schedule = keel::runtime::Schedule::cosine, .final_ratio = .5, .warmup_steps = 1},
            .accumulate = [this](int64_t step) -> keel::runtime::Measured {
              if (step == crash_at) throw std::runtime_error("killed");
              if (step == interrupt_at) keel::core::request_interrupt();
              steps_done = step + 1;
              const at::Tensor loss = (w - 1 - .1 * static_cast<double>(step % 2)).square().sum();
              loss.backward();
              return {.loss = loss.item<double>(), .metrics = {{"loss", loss.item<double>()}}};
            },
            .validate = [this]() -> keel::runtime::Measured {
              if (interrupt_validation) throw keel::core::Interrupted("no measure yet");
              const double loss = (w - .5).square().sum().item<double>();
              return {.loss = loss, .metrics = {{"eval_loss", loss}}};
            },
            .validate_every = 2};
  }
};

struct Outcome {
  TrainingResult result;
  std::string weights, metrics;
  bool operator==(const Outcome& other) const {
    return result.best_step == other.result.best_step && result.best == other.result.best && weights == other.weights &&
           metrics == other.metrics;
  }
};

constexpr int64_t kPullSteps = 7;

Outcome finish(const std::filesystem::path& folder) {
  Pull pull;
  pull.w.fill_(-5);  // a resumed run must not use its initial weights
  if (!std::filesystem::exists(folder / "ckpt/state.safetensors")) pull.w.fill_(0);
  const TrainingResult result = run_training(pull.job(kPullSteps), folder);
  return {result, keel::runtime::digest({{"w", pull.w}}), keel::test::read_text(folder / "metrics.jsonl")};
}

void interrupt(const std::filesystem::path& folder, int64_t step) {
  Pull pull;
  pull.interrupt_at = step;
  CHECK_THROWS_AS(run_training(pull.job(kPullSteps), folder), keel::core::Interrupted);
  keel::core::clear_interrupt();
}

}  // namespace

TEST_CASE("training: stopped after any step and started again it ends as if never stopped", "[runtime]") {
  const keel::test::TemporaryFolder folder;
  const Outcome straight = finish(folder / "straight");
  CHECK(straight.result.best_step == 4);  // so that stops lie before, at and after the best weights
  for (int64_t stop = 0; stop < kPullSteps; ++stop) {
    const auto stopped = folder / std::to_string(stop);
    interrupt(stopped, stop);
    CHECK(finish(stopped) == straight);
  }
  for (int64_t stop = 0; stop < kPullSteps; ++stop)
    interrupt(folder / "every", stop);
  CHECK(finish(folder / "every") == straight);
}

TEST_CASE("training: stopped inside any validation it loses no step and ends as if never stopped", "[runtime]") {
  const keel::test::TemporaryFolder folder;
  const Outcome straight = finish(folder / "straight");
  for (const int64_t stop : {2, 4, 6, 7}) {
    Pull pull;
    auto job = pull.job(kPullSteps);
    job.validate = [&, inner = job.validate, when = stop]() -> keel::runtime::Measured {
      pull.interrupt_validation = pull.steps_done == when;
      return inner();
    };
    CHECK_THROWS_WITH(run_training(job, folder / std::to_string(stop)),
                      Catch::Matchers::ContainsSubstring("pull stopped after step " + std::to_string(stop) + " of 7"));
    CHECK(finish(folder / std::to_string(stop)) == straight);
  }
}

TEST_CASE("training: a loss that runs away is a matter of settings, told with label and step", "[runtime]") {
  const keel::test::TemporaryFolder folder;
  Pull pull;
  auto job = pull.job(kPullSteps);
  job.accumulate = [&](int64_t step) -> keel::runtime::Measured {
    (pull.w.sum() * (step == 2 ? INFINITY : 1)).backward();
    return {.loss = 1, .metrics = {{"loss", 1}}};
  };
  std::string text;
  try {
    run_training(job, folder.path());
  } catch (const keel::core::UsageError& error) {
    text = error.what();
  }
  using Catch::Matchers::ContainsSubstring;
  CHECK_THAT(text, ContainsSubstring("pull: the gradient norm is inf at optimiser step 3") && ContainsSubstring("lower the learning rate"));
}

TEST_CASE("training: a kill after more steps than the checkpoint holds repeats no line of the metrics", "[runtime]") {
  const keel::test::TemporaryFolder folder;
  const Outcome straight = finish(folder / "straight");
  interrupt(folder / "killed", 1);
  for (const int64_t step : {6, 3}) {  // after validations that the checkpoint does not know
    Pull pull;
    pull.crash_at = step;
    CHECK_THROWS_AS(run_training(pull.job(kPullSteps), folder / "killed"), std::runtime_error);
  }
  CHECK(finish(folder / "killed") == straight);
}

TEST_CASE("training: the weights of the best validation are kept", "[runtime]") {
  const keel::test::TemporaryFolder folder;
  Pull pull;
  const auto job = pull.job(kPullSteps);
  const TrainingResult result = run_training(job, folder.path());
  CHECK(result.best_step < kPullSteps);
  CHECK(job.validate().loss == result.best);
  CHECK_FALSE(pull.w.requires_grad());
  std::vector<double> criteria;
  for (const auto& point : keel::core::read_metrics(folder / "metrics.jsonl"))
    if (point.values.front().first == "eval_loss") criteria.push_back(point.values.front().second);
  CHECK(criteria.size() == 4);  // steps 2, 4, 6 and the last
  CHECK(*std::min_element(criteria.begin(), criteria.end()) == result.best);
}

TEST_CASE("training: without validation the last weights stay and the best is nothing", "[runtime]") {
  const keel::test::TemporaryFolder folder;
  Pull pull, none;
  auto job = pull.job(3);
  job.validate = {};
  const TrainingResult result = run_training(job, folder / "three");
  CHECK(result.best_step == 3);
  CHECK(std::isnan(result.best));
  const auto points = keel::core::read_metrics(folder / "three/metrics.jsonl");
  REQUIRE(points.size() == 3);
  CHECK(points[2].step == 3);
  const std::map<std::string, double> first(points[0].values.begin(), points[0].values.end());
  CHECK(first.at("loss") == 3);
  CHECK(first.at("grad_norm") == Catch::Approx(2 * std::sqrt(3.)));
  CHECK(first.at("lr") == .15);

  job = none.job(0);
  run_training(job, folder / "none");
  CHECK_CLOSE(none.w, at::zeros({3}), 0);
}

TEST_CASE("training: a validation that is not a number never counts as the best", "[runtime]") {
  const keel::test::TemporaryFolder folder;
  Pull pull;
  auto job = pull.job(6);
  int calls = 0;
  // Logged metrics decide nothing: here they have training's names and opposite values.
  job.validate = [&]() -> keel::runtime::Measured {
    ++calls;
    return {.loss = calls == 2 ? 3. : NAN, .metrics = {{"loss", calls == 3 ? -9. : 9.}, {"eval_loss", -1. * calls}}};
  };
  CHECK(run_training(job, folder.path()).best_step == 4);
}

TEST_CASE("training: the checkpoint of another model is refused", "[runtime]") {
  const keel::test::TemporaryFolder folder;
  interrupt(folder.path(), 1);
  Pull other;
  other.w = at::zeros({4});
  CHECK_THROWS_AS(run_training(other.job(kPullSteps), folder.path()), c10::Error);
}
