// Every setting of PPO changes the result or is refused; settings that promise the same result keep it.
#include <ATen/core/grad_mode.h>

#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "policy/logprobs.h"
#include "ppo/small_run.h"
#include "support/options.h"

using namespace keel::ppo;
using keel::test::digest;
using keel::test::metric;
using keel::test::Models;
using keel::test::OneIteration;
using keel::test::small_config;

namespace {

PpoConfig with_settings(const std::vector<std::string>& settings) {
  PpoConfig config = small_config();
  config.iterations = 2;  // in the second the KL is not 0
  if (std::find(settings.begin(), settings.end(), "critic=shared") != settings.end()) keel::test::share_critic(config);
  return keel::test::with_settings(config, settings);
}

PpoJob job_with_pretraining() {
  PpoJob job = keel::test::small_job();
  for (int64_t i = 0; i < 5; ++i)
    job.pretraining.push_back({.ids = {1 + i, 2, 3 + i, 4}, .loss_mask = {true, true, i != 2, true}});
  return job;
}

// Weights of policy and critic after a short run.
std::string outcome(const std::vector<std::string>& settings) {
  const keel::test::TemporaryFolder folder;
  Models models;
  const PpoConfig config = with_settings(settings);
  const auto critic = make_critic(config, models.policy, models.critic);
  const PpoResult result = train(models.policy, critic, job_with_pretraining(), config, 1, folder.path());
  return digest(result.policy) + digest(result.critic);
}

struct Change {
  std::vector<std::string> context;  // settings needed for the option to have an effect
  std::string setting;
};

}  // namespace

TEST_CASE("ppo options: each one, changed, ends in other weights", "[ppo]") {
  const std::vector<Change> changes = {{{}, "iterations=3"},
                                       {{}, "batch_answers=7"},
                                       {{}, "minibatch_answers=8"},
                                       {{}, "epochs=2"},
                                       {{}, "critic=policy"},
                                       {{}, "critic=shared"},
                                       {{}, "whiten_advantages=false"},
                                       {{}, "ema_decay=0.5"},
                                       {{}, "sampling.temperature=0.7"},
                                       {{}, "sampling.max_new_tokens=4"},
                                       {{"kl.coefficient=1"}, "kl.estimator=k2"},
                                       {{"kl.coefficient=1"}, "kl.estimator=k3"},
                                       {{"kl.estimator=k2"}, "kl.placement=loss"},
                                       {{"kl.estimator=k2", "kl.placement=loss"}, "kl.estimator=k3"},
                                       {{"kl.estimator=k2", "kl.placement=loss"}, "kl.coefficient=0.5"},
                                       {{}, "kl.coefficient=0.5"},
                                       {{"kl.coefficient=1"}, "kl.controller=adaptive"},
                                       {{"kl.coefficient=1", "kl.controller=adaptive", "kl.target=0.1"}, "kl.horizon=10"},
                                       {{"kl.coefficient=1", "kl.controller=adaptive", "kl.horizon=10", "iterations=3"}, "kl.target=0.02"},
                                       {{}, "score.whiten=false"},
                                       {{}, "score.whiten_scope=deciding_model"},
                                       {{}, "score.epsilon=0.5"},
                                       {{}, "score.logit_clamp=0.3"},
                                       {{}, "reward.missing_eos_penalty=2"},
                                       {{}, "gae.gamma=0.9"},
                                       {{}, "gae.lambda=0.5"},
                                       {{"schedule.learning_rate=0.02"}, "loss.policy_clip=0.01"},
                                       {{}, "loss.value_clip=0.001"},
                                       {{"optimizer.clip_norm=0"}, "loss.value_weight=5"},
                                       {{"critic=shared"}, "loss.value_weight=0.05"},
                                       {{}, "optimizer.beta1=0.5"},
                                       {{}, "optimizer.beta2=0.5"},
                                       {{}, "optimizer.epsilon=0.1"},
                                       {{}, "optimizer.weight_decay=0"},
                                       {{}, "optimizer.clip_norm=0.01"},
                                       {{}, "schedule.learning_rate=0.001"},
                                       {{}, "schedule.schedule=cosine"},
                                       {{"schedule.schedule=cosine"}, "schedule.final_ratio=0.5"},
                                       {{}, "schedule.warmup_steps=2"},
                                       {{}, "critic_schedule.learning_rate=0.001"},
                                       {{}, "critic_schedule.schedule=cosine"},
                                       {{"critic_schedule.schedule=cosine"}, "critic_schedule.final_ratio=0.5"},
                                       {{}, "critic_schedule.warmup_steps=2"},
                                       {{}, "ptx.weight=2"},
                                       {{"ptx.weight=2"}, "ptx.batch_sequences=3"},
                                       {{}, "lora.rank=2"},
                                       {{"lora.rank=2"}, "lora.rank=3"},
                                       {{"lora.rank=2"}, "lora.alpha=4"},
                                       {{"lora.rank=2"}, "lora.target_modules=[\"o_proj\"]"},
                                       {{"lora.rank=2"}, "ema_decay=0.5"},
                                       {{"lora.rank=2"}, "critic=policy"},
                                       {{"lora.rank=2"}, "critic=shared"}};
  std::map<std::vector<std::string>, std::string> before;
  std::vector<std::string> changed;
  for (const Change& change : changes) {
    changed.push_back(change.setting);
    INFO(change.setting);
    if (!before.contains(change.context)) before[change.context] = outcome(change.context);
    std::vector<std::string> settings = change.context;
    settings.push_back(change.setting);
    CHECK(outcome(settings) != before[change.context]);
  }
  CHECK(outcome({"gradient_checkpointing=true"}) == outcome({}));
  keel::test::check_every_field_is_asked<PpoConfig>(
      changed, {"gradient_checkpointing", "sampling.top_p", "sampling.top_k",  // refused, below
                "micro_answers", "micro_tokens", "batch_rows",                 // the same result: train_test.cpp, generate_test.cpp
                "validation.every", "validation.kl_budget",                    // validation_test.cpp
                "validation.patience"});
}

TEST_CASE("ppo options: combinations in which one would have no effect, or the wrong one, are refused", "[ppo]") {
  for (const std::vector<std::string>& settings :
       std::vector<std::vector<std::string>>{{"kl.placement=loss"},  // k1
                                             {"score.whiten=false", "score.whiten_scope=deciding_model"},
                                             {"score.whiten=false", "whiten_advantages=false", "score.epsilon=0.5"},
                                             {"kl.controller=adaptive", "kl.horizon=1.6"},  // 0.2 * 8 answers
                                             {"kl.controller=adaptive", "kl.coefficient=0"},
                                             {"kl.target=3"},
                                             {"kl.horizon=10"},
                                             {"ptx.batch_sequences=3"},
                                             {"lora.alpha=4"},
                                             {"lora.target_modules=[\"o_proj\"]"},
                                             {"critic=shared", "critic_schedule.learning_rate=0.001"},
                                             {"critic=shared", "critic_schedule.warmup_steps=3"},
                                             {"critic=shared", "critic_schedule.final_ratio=0.5"},
                                             {"lora.rank=2", "lora.target_modules=[]"},
                                             {"sampling.top_k=3"},
                                             {"sampling.top_p=0.9"},
                                             {"sampling.temperature=0"}}) {
    INFO(settings.back());
    const auto problems = problems_of(with_settings(settings));
    REQUIRE(problems.size() == 1);
    const std::string field = settings.back().substr(0, settings.back().find('=')), section = field.substr(0, field.find('.'));
    CHECK_THAT(problems[0], Catch::Matchers::StartsWith(section));
  }
  for (const char* setting : {"ema_decay=1", "optimizer.beta1=1", "optimizer.beta2=1", "kl.placement=both", "score.whiten_scope=rank",
                              "critic=none", "lora.target_modules=[\"qkv\"]", "validation.every=0", "ptx.weight=-1"})
    CHECK_THROWS_AS(with_settings({setting}), keel::core::ConfigError);
}

TEST_CASE("ppo: the average of the policy's weights after a step is decay * start + (1 - decay) * now", "[ppo]") {
  PpoConfig config = small_config();
  config.minibatch_answers = 8;  // one step
  config.ema_decay = .75;
  OneIteration one(config);
  const at::Tensor start = one.models.policy.layers[0].gate.detach().clone();
  one.trainer.update(one.rollout, one.assess());
  const at::Tensor now = one.trainer.policy().layers[0].gate.detach(), averaged = one.trainer.averaged_policy().layers[0].gate;
  CHECK_CLOSE(averaged, .75 * start + .25 * now, 1e-7);
  CHECK(keel::test::largest_difference(averaged, now) > 1e-4);
  const auto kept = one.trainer.kept();
  const auto gate = std::find_if(kept.begin(), kept.end(),
                                 [](const auto& tensor) { return tensor.name == "policy.model.layers.0.mlp.gate_proj.weight"; });
  REQUIRE(gate != kept.end());
  CHECK(gate->tensor.equal(averaged));
  one.trainer.keep([&] {
    std::map<std::string, at::Tensor> named;
    for (const auto& [name, tensor] : one.trainer.kept())
      named.emplace(name, tensor);
    return named;
  }());
  CHECK(one.models.policy.layers[0].gate.equal(averaged));
  CHECK_FALSE(one.models.policy.layers[0].gate.requires_grad());
}

TEST_CASE("ppo: the averaged policy is what is kept, and what answers the held-out prompts", "[ppo]") {
  const auto run = [](double decay) {
    const keel::test::TemporaryFolder folder;
    const Models models;
    PpoConfig config = small_config();
    config.iterations = 1;
    config.minibatch_answers = 8;  // one step
    config.ema_decay = decay;
    PpoJob job = keel::test::small_job();
    const PpoResult result = train(models.policy, models.critic, job, config, 1, folder / "kept");
    job.held_out = {.prompts = {{3, 3}, {8}, {1, 2, 9}}, .reward = keel::test::likes_seven};
    const Models again;
    train(again.policy, again.critic, job, config, 1, folder / "evaluated");
    const auto points = keel::core::read_metrics(folder / "evaluated/metrics.jsonl");
    return std::pair(result.policy.layers[1].down, metric(points.back().values, "eval/kl"));
  };
  const auto [end, far] = run(0);
  const auto [kept, near] = run(.75);
  CHECK_CLOSE(kept, .75 * keel::test::tiny_llama().layers[1].down + .25 * end, 1e-7);
  CHECK(near > 0);
  CHECK(near < far / 4);
}

TEST_CASE("ppo: ptx is the mean loss of the step's targets, whatever the micro-batches, and a heavy one lowers it", "[ppo]") {
  const auto sequences = job_with_pretraining().pretraining;
  const keel::policy::Llama policy = keel::test::tiny_llama();
  std::vector<const keel::core::TokenSequence*> all;
  double sum = 0, targets = 0;
  for (const auto& sequence : sequences) {
    all.push_back(&sequence);
    const auto logprobs = keel::policy::sequence_logprobs(policy, {sequence.ids})[0];
    for (size_t i = 0; i < logprobs.size(); ++i) {
      if (!sequence.loss_mask[i + 1]) continue;
      sum -= logprobs[i];
      targets += 1;
    }
  }
  CHECK(targets == 14);
  CHECK(ptx_loss(policy, all, 14).item<double>() == Catch::Approx(sum / targets).epsilon(1e-6));
  CHECK_THROWS_AS(ptx_loss(policy, all, 0), c10::Error);

  const auto run = [&](int64_t micro) {
    PpoConfig config = small_config();
    config.micro_answers = micro;
    config.ptx = {.weight = 20, .batch_sequences = 5};
    OneIteration one(config);
    std::vector<double> losses;
    for (int i = 0; i < 4; ++i)
      losses.push_back(metric(one.trainer.update(one.rollout, one.assess(), sequences), "loss/ptx_avg"));
    return losses;
  };
  const auto losses = run(1), whole = run(8);
  CHECK(losses[0] == Catch::Approx(whole[0]).epsilon(1e-5));
  CHECK(losses.back() < losses.front());
  PpoConfig config = small_config();
  config.ptx.weight = 1;
  OneIteration one(config);
  CHECK_THROWS_AS(one.trainer.update(one.rollout, one.assess()), c10::Error);
}

TEST_CASE("ppo: a shared critic is a head on the policy's own hidden states, moved by the policy's optimiser", "[ppo]") {
  PpoConfig config = small_config();
  keel::test::share_critic(config);
  const Models models;
  const auto critic = make_critic(config, models.policy, models.critic);
  CHECK(critic.backbone.layers[0].q.data_ptr() == models.policy.layers[0].q.data_ptr());
  CHECK(critic.score.abs().max().item<double>() == 0);
  Trainer trainer(models.policy, critic, config, 1);
  const auto samples = keel::policy::generate(
      models.policy, {.prompts = keel::test::small_job().prompts, .sampling = config.sampling, .stop_ids = {10}, .seed = 9});
  const Rollout rollout = make_rollout(keel::test::small_job().prompts, samples);
  const auto first = trainer.assess(rollout, keel::test::likes_seven(samples));
  CHECK(first.values.abs().max().item<double>() == 0);
  const auto row = trainer.update(rollout, first);
  for (const auto& [name, value] : row)
    CHECK((name != "critic/lr" && name != "critic/grad_norm"));
  CHECK(critic.score.abs().max().item<double>() > 0);
  const auto second = trainer.assess(rollout, keel::test::likes_seven(samples));
  const at::NoGradGuard no_grad;
  const AnswerBatch batch = answer_batch(rollout, {0, 1, 2, 3, 4});
  CHECK_CLOSE(second.values, answer_values({keel::policy::backbone_of(models.policy), critic.score}, batch), 1e-6);
}
