// Answers, log-probs, scores, SFT, a reward model and PPO of a tiny model in one function: what must come out the same wherever and by
// however many it is computed.
#pragma once

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/metrics.h"
#include "policy/language_model_training.h"
#include "policy/logprobs.h"
#include "ppo/small_run.h"
#include "reward/train.h"

namespace keel::test {

inline policy::GenerationJob answers_job() {
  return {.prompts = {{1, 2, 3}, {4}, {5, 6}, {1, 9}, {2, 2, 2, 2}},
          .samples = 3,
          .sampling = {.max_new_tokens = 6},
          .limits = {6, 2, 6, 6, 3},
          .stop_ids = {10},
          .seed = 4,
          .first_record = 70,
          .records = {3, 4, 9, 11, 12}};
}

// Of the first `rows` lines; a later one may hang on a token that rounding has changed.
inline nlohmann::json numbers_of(const std::filesystem::path& folder, size_t rows) {
  nlohmann::json numbers = nlohmann::json::array();
  auto points = core::read_metrics(folder / "metrics.jsonl");
  REQUIRE(points.size() >= rows);
  points.resize(rows);
  for (const auto& point : points)
    for (const auto& [name, value] : point.values)
      if (std::isfinite(value)) numbers.push_back(value);
  return numbers;
}

// What answering, scoring and training give: "exact" numbers, which do not depend on who computes with them, "close" ones, which hang on
// the order of sums, and the digest of all trained weights.
inline nlohmann::json small_chain(c10::Device device = c10::kCPU) {
  const TemporaryFolder folder;
  nlohmann::json exact, close;
  Models models;
  models.policy = policy::moved(models.policy, device);
  models.critic = reward::moved(models.critic, device);
  std::vector<core::Ids> rows = {{}, {7}};
  for (const core::Sample& sample : policy::generate(models.policy, answers_job())) {
    exact["samples"].push_back({sample.prompt, sample.sample, sample.ids, sample.logprobs, sample.finish == core::FinishReason::stop});
    rows.push_back(core::joined(answers_job().prompts[static_cast<size_t>(sample.prompt)], sample.ids));
  }
  exact["logprobs"] = policy::sequence_logprobs(models.policy, rows);
  exact["scores"] = reward::score_rows(models.critic, {rows.begin() + 1, rows.end()});

  // A step of one micro-batch leaves the other ranks without work.
  std::vector<core::TokenSequence> sequences;
  policy::RowPlan plan;
  for (int64_t i = 2; i < 9; ++i) {
    const core::Ids& ids = rows[static_cast<size_t>(i)];
    sequences.push_back({.ids = ids, .loss_mask = std::vector<bool>(ids.size(), true)});
    plan.push_back({i - 2});
  }
  const policy::Llama tuned = policy::moved(tiny_llama(), device);
  const policy::LanguageModelJob sft{.label = "sft",
                                     .sequences = sequences,
                                     .rows = plan,
                                     .validation = sequences,
                                     .batch = {.batch_rows = 3, .row_tokens = 16, .micro_rows = 1, .validate_every = 2},
                                     .optimizer = {},
                                     .schedule = {.learning_rate = .01}};
  policy::train_language_model(tuned, sft, folder / "sft");
  close["sft"] = numbers_of(folder / "sft", 4);

  std::vector<core::TokenPair> pairs;
  for (size_t i = 2; i + 1 < rows.size(); i += 2)
    pairs.push_back({rows[i], rows[i + 1], static_cast<int>(1 + i % 4), {}, {}});
  reward::RewardTrainConfig config;
  config.epochs = 2;
  config.batch_pairs = 5;
  config.micro_pairs = 2;
  config.learning_rate = .005;
  const reward::RewardModel ranked = reward::make_reward_model(models.policy, reward::HeadStart::normal, 5);
  reward::train_reward_model(ranked, pairs, config, 1, folder / "reward", "reward");
  close["reward"] = numbers_of(folder / "reward", 3);

  ppo::PpoConfig settings = small_config();
  settings.iterations = 1;
  settings.micro_answers = 1;
  settings.ptx = {.weight = .5, .batch_sequences = 3};
  settings.validation.every = 1;
  ppo::PpoJob job = small_job();
  job.pretraining = sequences;
  job.held_out = {.prompts = {{1}, {3, 4}}, .reward = likes_seven};
  const ppo::PpoResult result = ppo::train(models.policy, models.critic, job, settings, 1, folder / "ppo");
  close["ppo"] = numbers_of(folder / "ppo", 2);
  return {{"exact", exact},
          {"close", close},
          {"weights", runtime::digest(policy::parameters(tuned)) + digest(ranked) + digest(result.policy) + digest(result.critic)}};
}

// Whether each number of "close" is that of the other, up to rounding.
inline void check_close(const nlohmann::json& chain, const nlohmann::json& expected) {
  for (const auto& [name, numbers] : expected.at("close").items()) {
    const auto& others = chain.at("close").at(name);
    REQUIRE(others.size() == numbers.size());
    REQUIRE(numbers.size() > 10);
    for (size_t i = 0; i < numbers.size(); ++i) {
      INFO(name << " " << i);
      CHECK(others[i].get<double>() == Catch::Approx(numbers[i].get<double>()).epsilon(1e-4).margin(1e-5));
    }
  }
}

}  // namespace keel::test
