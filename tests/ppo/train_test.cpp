#include "ppo/train.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/metrics.h"
#include "ppo/trainer.h"
#include "support/tiny_model.h"

using namespace keel::ppo;
using keel::core::Ids;
using keel::core::Sample;

namespace {

PpoConfig small_config() {
  PpoConfig config;
  config.iterations = 3;
  config.batch_answers = 8;
  config.minibatch_answers = 4;
  config.micro_answers = 4;
  config.sampling = {.temperature = 1, .max_new_tokens = 6};
  config.schedule.learning_rate = .002;
  config.critic_schedule.learning_rate = .005;
  return config;
}

// Rc grows with the share of id 7 in the answer.
std::vector<double> likes_seven(const std::vector<Sample>& samples) {
  std::vector<double> probability;
  for (const Sample& sample : samples) {
    const auto sevens = static_cast<double>(std::count(sample.ids.begin(), sample.ids.end(), 7));
    probability.push_back(.1 + .8 * sevens / static_cast<double>(sample.ids.size()));
  }
  return probability;
}

const PpoJob kJob{.prompts = {{1, 2, 3}, {4}, {5, 6}, {1, 9}, {2, 2, 2, 2}}, .stop_ids = {10}, .reward = likes_seven};

struct Models {
  keel::policy::Llama policy = keel::test::tiny_llama();
  keel::reward::RewardModel critic = keel::reward::make_reward_model(policy, "normal", 3);
};

double metric(const keel::core::MetricRow& row, const std::string& name) {
  for (const auto& [key, value] : row) {
    if (key == name) return value;
  }
  FAIL("no metric " << name);
  return 0;
}

struct OneIteration {
  Models models;
  PpoConfig config;
  Trainer trainer;
  Rollout rollout;
  explicit OneIteration(const PpoConfig& settings) : config(settings), trainer(models.policy, models.critic, settings, 1) {
    std::vector<Ids> prompts;
    for (int64_t i = 0; i < config.batch_answers; ++i)
      prompts.push_back(kJob.prompts[static_cast<size_t>(i) % 5]);
    samples = keel::policy::generate(models.policy, prompts, 1, config.sampling, {10}, {.seed = 9, .purpose = "ppo"});
    rollout = make_rollout(prompts, samples);
  }
  std::vector<Sample> samples;
};

}  // namespace

TEST_CASE("ppo: before any update ratios are 1, the KL is 0 and nothing is clipped, at temperatures .7, 1 and 1.3", "[ppo]") {
  for (double temperature : {.7, 1., 1.3}) {
    PpoConfig config = small_config();
    config.sampling.temperature = temperature;
    config.minibatch_answers = 8;
    OneIteration one(config);
    const auto experience = one.trainer.assess(one.rollout, likes_seven(one.samples));
    CHECK(metric(experience.metrics, "objective/kl") == 0);
    CHECK(metric(experience.metrics, "objective/kl_k3") == 0);
    CHECK(metric(experience.metrics, "rollout/logprob_drift_max") < 1e-5);
    CHECK(metric(experience.metrics, "objective/non_score_reward") == 0);
    const auto row = one.trainer.update(one.rollout, experience);
    CHECK(metric(row, "val/ratio") == Catch::Approx(1).epsilon(1e-6));
    CHECK(metric(row, "val/first_ratio_rms") < 1e-6);
    CHECK(metric(row, "policy/approxkl_avg") < 1e-12);
    CHECK(metric(row, "policy/clipfrac_avg") == 0);
    CHECK(std::abs(metric(row, "loss/policy_avg")) < 1e-6);  // whitened advantages have mean 0
  }
}

TEST_CASE("ppo: whitened advantages have mean 0 and variance 1 over the emitted tokens alone", "[ppo]") {
  OneIteration one(small_config());
  const auto experience = one.trainer.assess(one.rollout, likes_seven(one.samples));
  const at::Tensor kept = experience.advantages.masked_select(one.rollout.response_mask);
  CHECK(std::abs(kept.mean().item<double>()) < 1e-6);
  CHECK(kept.var(false).item<double>() == Catch::Approx(1).epsilon(1e-5));
  CHECK(experience.advantages.masked_select(~one.rollout.response_mask).abs().sum().item<double>() == 0);
}

TEST_CASE("ppo: micro-batches of one answer, of two and whole minibatches end in the same weights", "[ppo]") {
  std::vector<keel::runtime::Parameters> ends;
  for (int64_t micro : {1, 2, 8}) {
    PpoConfig config = small_config();
    config.minibatch_answers = 8;
    config.micro_answers = micro;
    OneIteration one(config);
    one.trainer.update(one.rollout, one.trainer.assess(one.rollout, likes_seven(one.samples)));
    ends.push_back(one.trainer.state());
  }
  for (size_t i = 0; i < ends[0].size(); ++i) {
    CHECK_CLOSE(ends[1][i].tensor, ends[0][i].tensor, 2e-6);
    CHECK_CLOSE(ends[2][i].tensor, ends[0][i].tensor, 2e-6);
  }
}

TEST_CASE("ppo: the reference stays what the policy was, shares nothing with it, and the policy moves", "[ppo]") {
  OneIteration one(small_config());
  const std::string before = keel::runtime::digest(keel::policy::parameters(one.models.policy));
  for (int i = 0; i < 3; ++i)
    one.trainer.update(one.rollout, one.trainer.assess(one.rollout, likes_seven(one.samples)));
  CHECK(keel::runtime::digest(keel::policy::parameters(one.trainer.reference())) == before);
  CHECK(keel::runtime::digest(keel::policy::parameters(one.models.policy)) != before);
  CHECK(one.trainer.reference().embedding.data_ptr() != one.models.policy.embedding.data_ptr());
}

TEST_CASE("ppo: training by reward models leaves these as they were", "[ppo]") {
  const keel::test::TemporaryFolder folder;
  const Models models;
  const auto helpfulness = keel::reward::make_reward_model(models.policy, "normal", 1),
             safety = keel::reward::make_reward_model(models.policy, "normal", 2);
  const auto digests = [&] {
    return keel::runtime::digest(keel::reward::parameters(helpfulness)) + keel::runtime::digest(keel::reward::parameters(safety));
  };
  const std::string before = digests();
  PpoJob job = kJob;
  job.reward = gated_reward(helpfulness, safety, job.prompts, std::vector<bool>(job.prompts.size(), false), {});
  const std::string start = keel::runtime::digest(keel::policy::parameters(models.policy));
  train(models.policy, models.critic, job, small_config(), 1, folder.path());
  CHECK(digests() == before);
  CHECK(keel::runtime::digest(keel::policy::parameters(models.policy)) != start);
}

TEST_CASE("ppo: at a learning rate of 0 nothing moves and the generator agrees with the trainer in every iteration", "[ppo]") {
  const keel::test::TemporaryFolder folder;
  const Models models;
  PpoConfig config = small_config();
  config.schedule.learning_rate = 0;
  config.critic_schedule.learning_rate = 0;
  const std::string before = keel::runtime::digest(keel::policy::parameters(models.policy));
  train(models.policy, models.critic, kJob, config, 1, folder.path());
  CHECK(keel::runtime::digest(keel::policy::parameters(models.policy)) == before);
  const auto points = keel::core::read_metrics(folder / "metrics.jsonl");
  REQUIRE(points.size() == 3);
  for (const auto& point : points) {
    CHECK(metric(point.values, "objective/kl") == 0);
    CHECK(metric(point.values, "rollout/logprob_drift_max") < 1e-5);
    CHECK(metric(point.values, "val/ratio") == Catch::Approx(1).epsilon(1e-6));
  }
}

TEST_CASE("ppo: an easy reward rises, and a strong KL penalty holds it back", "[ppo]") {
  const auto run = [](double beta) {
    const keel::test::TemporaryFolder folder;
    const Models models;
    PpoConfig config = small_config();
    config.iterations = 25;
    config.batch_answers = 32;
    config.minibatch_answers = 16;
    config.micro_answers = 16;
    config.kl.coefficient = beta;
    config.schedule.learning_rate = .01;
    train(models.policy, models.critic, kJob, config, 1, folder.path());
    const auto points = keel::core::read_metrics(folder / "metrics.jsonl");
    double early = 0, late = 0;
    for (size_t i = 0; i < 5; ++i) {
      early += metric(points[i].values, "objective/scores") / 5;
      late += metric(points[points.size() - 1 - i].values, "objective/scores") / 5;
    }
    return std::tuple(early, late, metric(points.back().values, "objective/kl"));
  };
  const auto [early, late, kl] = run(.01);
  const auto [held_early, held_late, held_kl] = run(5);
  INFO("scores " << early << " -> " << late << ", kl " << kl << "; with beta 5 " << held_early << " -> " << held_late << ", kl "
                 << held_kl);
  CHECK(late > early + .2);
  CHECK(held_kl < kl / 4);
}

TEST_CASE("ppo: stopped and started again it ends bit for bit as if never stopped, the adaptive coefficient included", "[ppo]") {
  const keel::test::TemporaryFolder folder;
  PpoConfig config = small_config();
  config.kl.controller = "adaptive";
  config.epochs = 2;
  config.iterations = 4;
  const Models straight;
  train(straight.policy, straight.critic, kJob, config, 1, folder / "straight");

  for (int stop = 0; stop < 4; ++stop) {
    const Models models;
    PpoJob job = kJob;
    job.reward = [stop, calls = 0](const std::vector<Sample>& samples) mutable {  // the signal comes in the middle of an iteration
      if (stop == 2 && calls++ == 0) return likes_seven(samples);
      keel::core::request_interrupt();
      if (stop >= 2) keel::core::stop_if_interrupted("scoring");  // after an iteration that is to be kept, and before any
      return likes_seven(samples);
    };
    CHECK_THROWS_AS(train(models.policy, models.critic, job, config, 1, folder / "stopped"), keel::core::Interrupted);
    keel::core::clear_interrupt();
  }
  const Models models;
  train(models.policy, models.critic, kJob, config, 1, folder / "stopped");
  CHECK(keel::runtime::digest(keel::policy::parameters(models.policy)) == keel::runtime::digest(keel::policy::parameters(straight.policy)));
  CHECK(keel::runtime::digest(keel::reward::parameters(models.critic)) == keel::runtime::digest(keel::reward::parameters(straight.critic)));
  CHECK(keel::test::read_text(folder / "stopped/metrics.jsonl") == keel::test::read_text(folder / "straight/metrics.jsonl"));
}

TEST_CASE("ppo: a checkpoint of another starting policy is refused", "[ppo]") {
  const keel::test::TemporaryFolder folder;
  const Models models;
  PpoJob job = kJob;
  job.reward = [](const std::vector<Sample>& samples) {
    keel::core::request_interrupt();
    return likes_seven(samples);
  };
  CHECK_THROWS_AS(train(models.policy, models.critic, job, small_config(), 1, folder.path()), keel::core::Interrupted);
  keel::core::clear_interrupt();
  CHECK_THROWS_AS(train(models.policy, models.critic, kJob, small_config(), 1, folder.path()), keel::core::DataError);
}

TEST_CASE("ppo: sampling whose log-probs are not the policy's, and minibatches above the batch, are refused together", "[ppo]") {
  const Models models;
  PpoConfig config = small_config();
  config.sampling.top_p = .9;
  config.minibatch_answers = 9;
  try {
    Trainer(models.policy, models.critic, config, 1);
    FAIL("accepted");
  } catch (const keel::core::ConfigError& error) {
    CHECK(error.problems.size() == 2);
  }
  for (auto* field : {&config.sampling.temperature, &config.sampling.top_p}) {
    config = small_config();
    *field = 0;
    CHECK_FALSE(problems_of(config).empty());
  }
  CHECK(problems_of(small_config()).empty());
  CHECK(problems_of({}).empty());
}

TEST_CASE("ppo: the defaults are the paper's, pass their own checks and come back from JSON", "[ppo]") {
  PpoConfig config, read;
  CHECK(config.batch_answers == 512);
  CHECK(config.minibatch_answers == 64);
  CHECK(config.epochs == 1);
  CHECK(config.kl.coefficient == .01);
  CHECK(config.loss.policy_clip == .2);
  CHECK(config.schedule.learning_rate == 1e-6);
  CHECK(config.schedule.schedule == "constant");
  CHECK(config.optimizer.beta2 == .95);
  CHECK(config.optimizer.epsilon == 1e-5);
  CHECK(config.optimizer.weight_decay == .1);
  CHECK(config.optimizer.clip_norm == 1);
  config.kl.controller = "adaptive";
  config.gae.lambda = .5;
  std::vector<std::string> problems;
  const auto json = keel::core::to_json(keel::core::fields_of(config));
  keel::core::assign(keel::core::fields_of(read), json, "test", problems);
  CHECK(problems.empty());
  CHECK(keel::core::to_json(keel::core::fields_of(read)) == json);
  keel::core::assign(keel::core::fields_of(read), {{"kl", {{"estimator", "k4"}}}, {"gae", {{"lambda", 1.5}}}}, "test", problems);
  CHECK(problems.size() == 2);
}

TEST_CASE("ppo: the gated reward scores prompt and answer by both models", "[ppo]") {
  const keel::policy::Llama base = keel::test::tiny_llama();
  const auto helpfulness = keel::reward::make_reward_model(base, "normal", 1), safety = keel::reward::make_reward_model(base, "normal", 2);
  const std::vector<Ids> prompts = {{1, 2}, {3}};
  const RewardFunction reward = gated_reward(helpfulness, safety, prompts, {false, true}, {});
  std::vector<Sample> samples(2);
  samples[0].prompt = 1;
  samples[0].ids = {4, 10};
  samples[1].prompt = 0;
  samples[1].ids = {5};
  const auto sigmoid = [](double x) { return 1 / (1 + std::exp(-x)); };
  const std::vector<double> combined = reward(samples);
  REQUIRE(combined.size() == 2);
  CHECK(combined[0] == Catch::Approx(sigmoid(keel::reward::score_rows(safety, {{3, 4, 10}})[0])).epsilon(1e-6));
  CHECK(combined[1] == Catch::Approx(sigmoid(keel::reward::score_rows(helpfulness, {{1, 2, 5}})[0])).epsilon(1e-6));
  CHECK_THROWS_AS(gated_reward(helpfulness, safety, prompts, {true}, {}), c10::Error);
}

TEST_CASE("ppo: the critic starts as a copy of the reward model or as the policy with a zero head", "[ppo]") {
  const keel::policy::Llama base = keel::test::tiny_llama();
  const auto reward_model = keel::reward::make_reward_model(base, "normal", 1);
  PpoConfig config;
  const auto copy = make_critic(config, base, reward_model);
  CHECK(copy.score.equal(reward_model.score));
  CHECK(copy.score.data_ptr() != reward_model.score.data_ptr());
  config.critic = "policy";
  CHECK(make_critic(config, base, reward_model).score.abs().max().item<double>() == 0);
}
