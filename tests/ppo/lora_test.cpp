// PPO with adapters: one frozen base under policy, critic and reference.
#include <cmath>
#include <set>

#include "ppo/small_run.h"

using namespace keel::ppo;
using keel::test::digest;
using keel::test::metric;
using keel::test::Models;
using keel::test::small_config;
using keel::test::small_job;

namespace {

PpoConfig adapter_config(Critic critic) {
  PpoConfig config = small_config();
  config.critic = critic;
  if (critic == Critic::shared) keel::test::share_critic(config);
  config.schedule.learning_rate = .05;
  config.lora = {.rank = 2, .alpha = 8, .target_modules = {"q_proj", "v_proj", "down_proj"}};
  return config;
}

}  // namespace

TEST_CASE("ppo with adapters: policy, critic and reference share the base's storage, and only adapters and head are trained", "[ppo]") {
  const Models models;
  const PpoConfig config = adapter_config(Critic::policy);
  const auto critic = make_critic(config, models.policy, models.critic);
  const Trainer trainer(models.policy, critic, config, 1);
  for (const keel::policy::Llama* model : {&trainer.policy(), &trainer.reference(), &trainer.critic().backbone}) {
    CHECK(model->layers[1].q.data_ptr() == models.policy.layers[1].q.data_ptr());
    CHECK_FALSE(model->layers[1].q.requires_grad());
  }
  CHECK(keel::policy::lora_parameters(trainer.reference()).empty());
  CHECK(keel::policy::lora_parameters(trainer.policy()).size() == 12);
  CHECK(trainer.policy().layers[0].adapters.q.a.data_ptr() != trainer.critic().backbone.layers[0].adapters.q.a.data_ptr());
  CHECK(trainer.kept().size() == 25);  // two models of 12 tensors and the head
  CHECK_FALSE((trainer.policy().gradient_checkpointing || trainer.critic().backbone.gradient_checkpointing));
  PpoConfig checkpointing = config;
  checkpointing.gradient_checkpointing = true;
  const Trainer again(models.policy, critic, checkpointing, 1);
  CHECK((again.policy().gradient_checkpointing && again.critic().backbone.gradient_checkpointing));
}

TEST_CASE("ppo with adapters: the base and the reward model stay, the policy moves, and its folder holds what is kept", "[ppo]") {
  for (const Critic kind : {Critic::reward, Critic::policy, Critic::shared}) {
    INFO(keel::core::name_of(kind));
    const keel::test::TemporaryFolder folder;
    const Models models;
    const PpoConfig config = adapter_config(kind);
    const std::string base = digest(models.policy), reward_model = digest(models.critic);
    const auto critic = make_critic(config, models.policy, models.critic);
    const PpoResult result = train(models.policy, critic, small_job(), config, 1, folder.path());
    CHECK(digest(models.policy) == base);
    CHECK(digest(models.critic) == reward_model);
    CHECK(digest(result.policy) != base);
    CHECK(keel::policy::lora_parameters(result.policy).empty());
    CHECK(digest(keel::policy::merged(keel::policy::load_lora(folder / "adapter", models.policy))) == digest(result.policy));
    if (kind == Critic::shared) {
      CHECK_FALSE(std::filesystem::exists(folder / "critic_adapter"));
    } else {
      const auto start = kind == Critic::reward ? models.critic.backbone : keel::policy::backbone_of(models.policy);
      CHECK(digest(keel::policy::merged(keel::policy::load_lora(folder / "critic_adapter", start))) == digest(result.critic.backbone));
      CHECK(digest(result.critic.backbone) != digest(start));
    }
    CHECK(result.policy.layers[0].k.equal(models.policy.layers[0].k));  // no target
    const auto points = keel::core::read_metrics(folder / "metrics.jsonl");
    CHECK(metric(points[0].values, "objective/kl") == 0);  // adapters that add 0 change no bit
    CHECK(metric(points[0].values, "val/first_ratio_rms") == 0);
    CHECK(metric(points[2].values, "objective/kl_k3") > 0);
    for (const auto& point : points)
      CHECK(metric(point.values, "rollout/logprob_drift_max") == 0);
    if (kind == Critic::shared) CHECK(result.critic.backbone.layers[0].q.data_ptr() == result.policy.layers[0].q.data_ptr());
  }
}

TEST_CASE("ppo with adapters: an easy reward rises", "[ppo]") {
  const keel::test::TemporaryFolder folder;
  const Models models;
  PpoConfig config = adapter_config(Critic::policy);
  config.iterations = 60;
  config.batch_answers = 32;
  config.minibatch_answers = 16;
  config.micro_answers = 16;
  train(models.policy, make_critic(config, models.policy, models.critic), small_job(), config, 1, folder.path());
  const auto points = keel::core::read_metrics(folder / "metrics.jsonl");
  const auto [early, late] = keel::test::early_and_late_scores(points);
  INFO(early << " -> " << late);
  CHECK(late > early + .03);
}
