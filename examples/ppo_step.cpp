// One PPO iteration with a custom reward: ppo_step MODEL "question"...
//
// Samples an answer to each question, rewards short ones, and updates the policy once. The loop of `keel ppo` is these calls, repeated.
#include <cmath>
#include <cstdio>
#include <exception>
#include <functional>
#include <string>

#include "core/types.h"
#include "data/chat_format.h"
#include "data/tokenizer.h"
#include "policy/generate.h"
#include "policy/model_directory.h"
#include "ppo/trainer.h"

// Any callable from an answer to a number in [0, 1] will do: a rule, a model, a server. This rule prefers short answers.
const std::function<double(const std::string& answer)> reward = [](const std::string& answer) {
  return std::exp(-static_cast<double>(answer.size()) / 64);
};

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: ppo_step MODEL QUESTION...\n");
    return 2;
  }
  try {
    const auto policy = keel::policy::load_llama(argv[1]);
    const auto tokenizer = keel::data::load_tokenizer(argv[1]);
    const auto format = keel::data::chat_format_of(argv[1]);
    std::vector<keel::core::Ids> prompts;
    for (int i = 2; i < argc; ++i)
      prompts.push_back(keel::data::render(format, *tokenizer, {{{"user", argv[i]}}}).ids);

    keel::ppo::PpoConfig config;
    config.batch_answers = config.minibatch_answers = static_cast<int64_t>(prompts.size());
    config.sampling.max_new_tokens = 32;
    const auto critic = keel::reward::make_reward_model(policy, keel::reward::HeadStart::zeros, 0);
    keel::ppo::Trainer trainer(policy, critic, config, /*seed=*/1);

    const auto samples = keel::policy::generate(trainer.policy(), {.prompts = prompts,
                                                                   .sampling = config.sampling,
                                                                   .stop_ids = keel::data::stop_ids(format, *tokenizer),
                                                                   .seed = 1,
                                                                   .purpose = "ppo_step"});
    std::vector<keel::reward::AnswerReward> earned;
    for (const auto& sample : samples)
      earned.push_back({.probability = reward(tokenizer->decode(sample.ids))});

    const auto rollout = keel::ppo::make_rollout(prompts, samples);
    const auto experience = trainer.assess(rollout, earned);
    for (const auto& [name, value] : experience.metrics)
      std::printf("%s %.6g\n", name.c_str(), value);
    for (const auto& [name, value] : trainer.update(rollout, experience))
      std::printf("%s %.6g\n", name.c_str(), value);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
