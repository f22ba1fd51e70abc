#include "ppo/train.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/metrics.h"
#include "ppo/small_run.h"

using namespace keel::ppo;
using keel::core::Sample;
using keel::test::digest;
using keel::test::likes_seven;
using keel::test::metric;
using keel::test::Models;
using keel::test::OneIteration;
using keel::test::small_config;
using keel::test::small_job;

TEST_CASE("ppo (pitfall 1): before any update ratios are 1, the KL is 0 and nothing is clipped, at temperatures .7, 1 and 1.3", "[ppo]") {
  for (double temperature : {.7, 1., 1.3}) {
    PpoConfig config = small_config();
    config.sampling.temperature = temperature;
    config.minibatch_answers = 8;
    OneIteration one(config);
    const auto experience = one.assess();
    CHECK(metric(experience.metrics, "objective/kl") == 0);
    CHECK(metric(experience.metrics, "objective/kl_k3") == 0);
    CHECK(metric(experience.metrics, "objective/non_score_reward") == 0);
    const auto row = one.trainer.update(one.rollout, experience);
    CHECK(metric(row, "val/ratio") == Catch::Approx(1).epsilon(1e-6));
    CHECK(metric(row, "val/first_ratio_rms") == 0);
    CHECK(metric(row, "rollout/logprob_drift_max") == 0);
    CHECK(metric(row, "policy/approxkl_avg") < 1e-12);
    CHECK(metric(row, "policy/clipfrac_avg") == 0);
    CHECK(std::abs(metric(row, "loss/policy_avg")) < 1e-6);  // whitened advantages have mean 0
  }
}

TEST_CASE("ppo (pitfall 4): whitened advantages have mean 0 and variance 1 over the emitted tokens alone", "[ppo]") {
  OneIteration one(small_config());
  const auto experience = one.assess();
  const at::Tensor kept = experience.advantages.masked_select(one.rollout.response_mask);
  CHECK(std::abs(kept.mean().item<double>()) < 1e-6);
  CHECK(kept.var(false).item<double>() == Catch::Approx(1).epsilon(1e-5));
  CHECK(experience.advantages.masked_select(~one.rollout.response_mask).abs().sum().item<double>() == 0);

  PpoConfig config = small_config();
  config.whiten_advantages = false;
  const auto plain = OneIteration(config).assess();
  const double deviation = plain.advantages.masked_select(one.rollout.response_mask).to(at::kDouble).var(false).sqrt().item<double>();
  CHECK(metric(experience.metrics, "whiten/advantages_std") == Catch::Approx(deviation).epsilon(1e-5));
  CHECK(std::none_of(plain.metrics.begin(), plain.metrics.end(), [](const auto& entry) { return entry.first == "whiten/advantages_std"; }));
}

TEST_CASE("ppo (pitfall 5): 8 x 1, 4 x 2, 2 x 4 and 1 x 8 answers end in the same weights", "[ppo]") {
  std::vector<keel::runtime::Parameters> ends;
  for (int64_t micro : {1, 2, 4, 8}) {
    PpoConfig config = small_config();
    config.minibatch_answers = 8;
    config.micro_answers = micro;
    OneIteration one(config);
    one.trainer.update(one.rollout, one.assess());
    ends.push_back(one.trainer.state());
  }
  for (size_t i = 0; i < ends[0].size(); ++i) {
    for (size_t other = 1; other < ends.size(); ++other)
      CHECK_CLOSE(ends[other][i].tensor, ends[0][i].tensor, 1e-6);
  }
}

TEST_CASE("ppo (pitfall 5): forward passes of at most 12 tokens end in the same weights as those of 8 answers", "[ppo]") {
  const auto end = [](int64_t answers, int64_t tokens) {
    PpoConfig config = small_config();
    config.minibatch_answers = 8;
    config.micro_answers = answers;
    config.micro_tokens = tokens;
    config.ptx = {.weight = .5, .batch_sequences = 5};
    OneIteration one(config);
    const keel::core::TokenSequence text{.ids = {1, 2, 3, 4, 5}, .loss_mask = std::vector<bool>(5, true)};
    one.trainer.update(one.rollout, one.assess(), {text, text, text});
    return one.trainer.state();
  };
  const auto whole = end(8, 512), parts = end(8, 12);
  for (size_t i = 0; i < whole.size(); ++i)
    CHECK_CLOSE(parts[i].tensor, whole[i].tensor, 1e-6);
  // A limit of one token gives exactly the bits of one answer a pass, which differ from those of eight: the limit is respected.
  const auto bits = [](const keel::runtime::Parameters& state) { return keel::runtime::digest(state); };
  CHECK(bits(end(8, 1)) == bits(end(1, 512)));
  CHECK(bits(end(8, 1)) != bits(whole));
}

TEST_CASE("ppo (pitfall 8): the reference stays what the policy was, shares nothing with it, and the policy moves", "[ppo]") {
  OneIteration one(small_config());
  const std::string before = digest(one.models.policy);
  for (int i = 0; i < 10; ++i)
    one.trainer.update(one.rollout, one.assess());
  CHECK(digest(one.trainer.reference()) == before);
  CHECK(digest(one.models.policy) != before);
  CHECK(one.trainer.reference().embedding.data_ptr() != one.models.policy.embedding.data_ptr());
}

TEST_CASE("ppo (pitfall 8): training by reward models leaves these as they were", "[ppo]") {
  const keel::test::TemporaryFolder folder;
  const Models models;
  const auto helpfulness = keel::reward::make_reward_model(models.policy, keel::reward::HeadStart::normal, 1),
             safety = keel::reward::make_reward_model(models.policy, keel::reward::HeadStart::normal, 2);
  const auto digests = [&] { return digest(helpfulness) + digest(safety); };
  const std::string before = digests();
  PpoJob job = small_job();
  job.reward = keel::reward::gated_reward(keel::reward::scorer_of(helpfulness), keel::reward::scorer_of(safety), job.prompts,
                                          std::vector<bool>(job.prompts.size(), false), {});
  const std::string start = digest(models.policy);
  PpoConfig config = small_config();
  config.iterations = 5;  // ten steps
  train(models.policy, make_critic(config, models.policy, helpfulness), job, config, 1, folder.path());
  CHECK(digests() == before);
  CHECK(digest(models.policy) != start);
}

TEST_CASE("ppo (pitfall 1): at a learning rate of 0 nothing moves and the generator agrees with the trainer in every iteration", "[ppo]") {
  const keel::test::TemporaryFolder folder;
  const Models models;
  PpoConfig config = small_config();
  config.schedule.learning_rate = 0;
  config.critic_schedule.learning_rate = 0;
  config.iterations = 20;
  const std::string before = digest(models.policy), critic = digest(models.critic);
  const PpoResult result = train(models.policy, models.critic, small_job(), config, 1, folder.path());
  CHECK(digest(result.policy) == before);
  CHECK(digest(result.critic) == critic);
  const auto points = keel::core::read_metrics(folder / "metrics.jsonl");
  REQUIRE(points.size() == 20);
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
    PpoConfig config = keel::test::learning_config(25);
    config.kl.coefficient = beta;
    train(models.policy, models.critic, small_job(), config, 1, folder.path());
    const auto points = keel::core::read_metrics(folder / "metrics.jsonl");
    const auto [early, late] = keel::test::early_and_late_scores(points);
    return std::tuple(early, late, metric(points.back().values, "objective/kl"));
  };
  const auto [early, late, kl] = run(.01);
  const auto [held_early, held_late, held_kl] = run(5);
  INFO("scores " << early << " -> " << late << ", kl " << kl << "; with beta 5 " << held_early << " -> " << held_late << ", kl "
                 << held_kl);
  CHECK(late > early + .2);
  CHECK(held_kl < kl / 4);
}

TEST_CASE("ppo: the adaptive coefficient brings the KL near its target from a start that a fixed one would stay at", "[ppo]") {
  const auto late_kl = [](KlController controller, double start) {  // mean over the later half of the iterations
    const keel::test::TemporaryFolder folder;
    const Models models;
    PpoConfig config = keel::test::learning_config(100);
    config.kl.coefficient = start;
    config.kl.controller = controller;
    if (controller == KlController::adaptive) config.kl.target = 4, config.kl.horizon = 32;
    train(models.policy, models.critic, small_job(), config, 1, folder.path());
    return keel::test::mean_from(50, keel::core::read_metrics(folder / "metrics.jsonl"), "objective/kl");
  };
  for (const double start : {.1, 1.}) {
    const double fixed = late_kl(KlController::fixed, start), adaptive = late_kl(KlController::adaptive, start);
    INFO("from " << start << ": " << fixed << " with a fixed coefficient, " << adaptive << " with an adaptive one");
    CHECK(std::abs(adaptive - 4) < std::abs(fixed - 4) / 2);
  }
}

TEST_CASE("ppo: every kind of critic learns what answers earn", "[ppo]") {
  const Critic critic = GENERATE(Critic::reward, Critic::policy, Critic::shared);
  const auto explained = [&](double rate) {  // variance, over the last fifth of the iterations
    const keel::test::TemporaryFolder folder;
    const Models models;
    PpoConfig config = keel::test::learning_config(40);
    config.schedule.learning_rate = critic == Critic::shared ? rate : .002;
    if (critic == Critic::shared)
      keel::test::share_critic(config);
    else
      config.critic = critic, config.critic_schedule.learning_rate = rate;
    train(models.policy, models.critic, small_job(), config, 1, folder.path());
    return keel::test::mean_from(32, keel::core::read_metrics(folder / "metrics.jsonl"), "critic/vf_explained_var");
  };
  const double learned = explained(critic == Critic::shared ? .002 : .01), untrained = explained(1e-9);
  INFO("critic " << keel::core::name_of(critic) << ": explained variance " << learned << ", without training " << untrained);
  CHECK(learned > .15);
  CHECK(learned > untrained + .1);
}

TEST_CASE("ppo: a penalty on answers without an end teaches the policy to end them, where the reward does not care", "[ppo]") {
  const auto truncated = [](double penalty) {  // share of answers that were cut, over the last fifth of the iterations
    const keel::test::TemporaryFolder folder;
    const Models models;
    PpoConfig config = keel::test::learning_config(30);
    config.reward.missing_eos_penalty = penalty;
    PpoJob job = small_job();
    job.reward = [](const std::vector<Sample>& samples) {
      return std::vector<keel::reward::AnswerReward>(samples.size(), {.probability = .5});
    };
    train(models.policy, models.critic, job, config, 1, folder.path());
    return keel::test::mean_from(24, keel::core::read_metrics(folder / "metrics.jsonl"), "rollout/truncated_rate");
  };
  const double without = truncated(0), with = truncated(2);
  INFO("cut: " << without << " without a penalty, " << with << " with one");
  CHECK(with < without - .2);
}

TEST_CASE("ppo: stopped and started again it ends bit for bit as if never stopped: coefficient, averages, mix, adapters included",
          "[ppo]") {
  PpoConfig base = small_config();
  base.kl.controller = KlController::adaptive;
  base.epochs = 2;
  base.iterations = 4;
  PpoConfig shared = base, adapters = base;
  keel::test::share_critic(shared);
  shared.ema_decay = .5;
  shared.ptx = {.weight = .5, .batch_sequences = 2};
  adapters.critic = Critic::policy;
  adapters.ema_decay = .5;
  adapters.lora.rank = 2;
  PpoJob whole = small_job();
  whole.pretraining = {{.ids = {1, 2, 3}, .loss_mask = {true, true, true}}, {.ids = {4, 5}, .loss_mask = {true, true}}};

  for (const PpoConfig& config : {base, shared, adapters}) {
    const keel::test::TemporaryFolder folder;
    const auto run = [&](const PpoJob& job, const char* name) {
      const Models models;
      const auto critic = make_critic(config, models.policy, models.critic);
      return train(models.policy, critic, job, config, 1, folder / name);
    };
    const PpoResult straight = run(whole, "straight");
    for (int stop = 0; stop < 4; ++stop) {
      PpoJob job = whole;
      job.reward = [stop, calls = 0](const std::vector<Sample>& samples) mutable {  // the signal comes in the middle of an iteration
        if (stop == 2 && calls++ == 0) return likes_seven(samples);
        keel::core::request_interrupt();
        if (stop >= 2) keel::core::stop_if_interrupted("scoring");  // after an iteration that must be kept, and before any
        return likes_seven(samples);
      };
      CHECK_THROWS_AS(run(job, "stopped"), keel::core::Interrupted);
      keel::core::clear_interrupt();
    }
    const PpoResult stopped = run(whole, "stopped");
    CHECK(digest(stopped.policy) == digest(straight.policy));
    CHECK(digest(stopped.critic) == digest(straight.critic));
    CHECK(keel::test::read_text(folder / "stopped/metrics.jsonl") == keel::test::read_text(folder / "straight/metrics.jsonl"));
    int64_t step = 0;  // the seconds differ, the iterations do not
    std::istringstream seconds(keel::test::read_text(folder / "stopped/timings.jsonl"));
    for (std::string line; std::getline(seconds, line);)
      CHECK(nlohmann::json::parse(line).at("step") == ++step);
    CHECK(step == 4);
  }
}

TEST_CASE("ppo: a checkpoint of another starting policy is refused", "[ppo]") {
  const keel::test::TemporaryFolder folder;
  const Models models;
  PpoJob job = small_job();
  job.reward = [](const std::vector<Sample>& samples) {
    keel::core::request_interrupt();
    return likes_seven(samples);
  };
  CHECK_THROWS_AS(train(models.policy, models.critic, job, small_config(), 1, folder.path()), keel::core::Interrupted);
  keel::core::clear_interrupt();
  CHECK_THROWS_AS(train(models.policy, models.critic, small_job(), small_config(), 1, folder.path()), keel::core::DataError);
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
  CHECK(config.schedule.schedule == keel::runtime::Schedule::constant);
  CHECK(config.optimizer.beta2 == .95);
  CHECK(config.optimizer.epsilon == 1e-5);
  CHECK(config.optimizer.weight_decay == .1);
  CHECK(config.optimizer.clip_norm == 1);
  config.kl.controller = KlController::adaptive;
  config.gae.lambda = .5;
  std::vector<std::string> problems;
  const auto json = keel::core::to_json(keel::core::fields_of(config));
  keel::core::assign(keel::core::fields_of(read), json, "test", problems);
  CHECK(problems.empty());
  CHECK(keel::core::to_json(keel::core::fields_of(read)) == json);
  keel::core::assign(keel::core::fields_of(read), {{"kl", {{"estimator", "k4"}}}, {"gae", {{"lambda", 1.5}}}}, "test", problems);
  CHECK(problems.size() == 2);
}

TEST_CASE("ppo (pitfall 10): the critic starts as a copy of the reward model or as the policy with a zero head", "[ppo]") {
  const keel::policy::Llama base = keel::test::tiny_llama();
  const auto reward_model = keel::reward::make_reward_model(base, keel::reward::HeadStart::normal, 1);
  PpoConfig config;
  const auto copy = make_critic(config, base, reward_model);
  CHECK(copy.score.equal(reward_model.score));
  const auto of_copy = parameters(copy), of_model = parameters(reward_model);
  REQUIRE(of_copy.size() == of_model.size());
  for (size_t i = 0; i < of_copy.size(); ++i) {
    INFO(of_copy[i].name);
    CHECK(of_copy[i].tensor.equal(of_model[i].tensor));
    CHECK(of_copy[i].tensor.data_ptr() != of_model[i].tensor.data_ptr());
  }
  config.critic = Critic::policy;
  CHECK(make_critic(config, base, reward_model).score.abs().max().item<double>() == 0);
}
