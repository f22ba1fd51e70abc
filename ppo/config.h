// Settings of PPO (Llama 2 paper, 3.2.3 and A.3.3). Defaults that the paper leaves open are marked; they follow common practice.
#pragma once

#include <string>
#include <vector>

#include "policy/generate.h"
#include "policy/lora.h"
#include "ppo/gae.h"
#include "ppo/kl.h"
#include "ppo/losses.h"
#include "ppo/ptx.h"
#include "ppo/rewards.h"
#include "ppo/validation.h"
#include "ppo/whiten.h"
#include "runtime/adamw.h"
#include "runtime/schedule.h"

namespace keel::ppo {

enum class Critic { reward, policy, shared };
constexpr auto names(Critic) {
  return std::to_array<core::Named<Critic>>({{Critic::reward, "reward"}, {Critic::policy, "policy"}, {Critic::shared, "shared"}});
}

struct PpoConfig {
  int64_t iterations = 200;        // paper: 200 to 400
  int64_t batch_answers = 512;     // paper
  int64_t minibatch_answers = 64;  // paper: one gradient step each
  int64_t micro_answers = 16;
  int64_t micro_tokens = 512;  // docs/performance.md, Memory
  bool gradient_checkpointing = false;
  int64_t epochs = 1;               // paper: each minibatch is used once
  Critic critic = Critic::reward;   // not in the paper
  bool whiten_advantages = true;    // not in the paper
  double ema_decay = 0;             // not in the paper
  policy::SamplingConfig sampling;  // not in the paper
  int64_t batch_rows = 64;
  KlConfig kl;
  ScoreConfig score;
  RewardShapeConfig reward;
  GaeConfig gae;
  LossConfig loss;
  runtime::AdamWConfig optimizer;                                                                    // of policy and critic alike
  runtime::ScheduleConfig schedule{.learning_rate = 1e-6, .schedule = runtime::Schedule::constant};  // paper
  runtime::ScheduleConfig critic_schedule{.learning_rate = 1e-6,
                                          .schedule = runtime::Schedule::constant};  // the paper names one rate alone
  ValidationConfig validation;
  PtxConfig ptx;
  policy::LoraConfig lora;
};

inline void visit(PpoConfig& config, core::Fields& fields) {
  fields("iterations", config.iterations, "rounds of sampling and updating", core::at_least(1));
  fields("batch_answers", config.batch_answers, "answers an iteration, one a prompt", core::between(1, 1e6));
  fields("minibatch_answers", config.minibatch_answers, "answers an optimiser step", core::at_least(1));
  fields("micro_answers", config.micro_answers, "answers a forward pass; memory against speed, same result", core::at_least(1));
  fields("micro_tokens", config.micro_tokens,
         "most tokens a forward pass, prompts and padding included (or one answer); limits micro_answers, same result", core::at_least(1));
  policy::gradient_checkpointing_field(config.gradient_checkpointing, fields);
  fields("epochs", config.epochs, "passes over the answers of an iteration", core::at_least(1));
  fields("critic", config.critic,
         "the critic: a model that starts as the helpfulness reward model, one that starts as the policy with a zero head, or (shared) a "
         "zero head on the policy's own hidden states, trained by the policy's optimiser");
  fields(
      "whiten_advantages", config.whiten_advantages,
      "scale advantages to mean 0 and variance 1 over all tokens of an iteration (with score.epsilon); this scales the KL penalty in the "
      "reward too");
  fields("ema_decay", config.ema_decay,
         "decay of the moving average of the policy's weights, updated each step; the average is evaluated and kept; 0 = off",
         core::half_open(0, 1));
  fields.section("sampling", config.sampling, "answers; top_p, top_k and temperature 0 are refused, their log-probs are not the policy's");
  fields("batch_rows", config.batch_rows, "answers decoded together; memory against speed", core::at_least(1));
  fields.section("kl", config.kl, "penalty against the policy that PPO started from");
  fields.section("score", config.score, "whiten(logit(Rc))");
  fields.section("reward", config.reward, "reward per token");
  fields.section("gae", config.gae, "advantages");
  fields.section("loss", config.loss, "clipped losses");
  fields.section("optimizer", config.optimizer, "AdamW of policy and critic");
  fields.section("schedule", config.schedule, "learning rate of the policy");
  fields.section("critic_schedule", config.critic_schedule, "learning rate of a critic of its own");
  fields.section("validation", config.validation, "held-out prompts: which weights are kept, and when to stop");
  fields.section("ptx", config.ptx, "pretraining mix");
  fields.section("lora", config.lora, "adapters on frozen weights of policy and critic");
}

// Every violated rule between the fields.
std::vector<std::string> problems_of(const PpoConfig& config);

// Problems with this model shape.
std::vector<std::string> problems_with(const PpoConfig& config, const policy::LlamaConfig& shape);

}  // namespace keel::ppo
