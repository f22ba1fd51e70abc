// Several ranks compute what one does: answers, log-probs and scores to the bit, training up to the order of its sums.
#include <ATen/Parallel.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/json.h"
#include "core/metrics.h"
#include "policy/language_model_training.h"
#include "policy/logprobs.h"
#include "ppo/small_run.h"
#include "reward/train.h"
#include "runtime/dist/ranks.h"
#include "support/test_ranks.h"

namespace keel::ppo {
namespace {

namespace dist = runtime::dist;

policy::GenerationJob answers_job() {
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
nlohmann::json numbers_of(const std::filesystem::path& folder, size_t rows) {
  nlohmann::json numbers = nlohmann::json::array();
  auto points = core::read_metrics(folder / "metrics.jsonl");
  REQUIRE(points.size() >= rows);
  points.resize(rows);
  for (const auto& point : points)
    for (const auto& [name, value] : point.values)
      if (std::isfinite(value)) numbers.push_back(value);
  return numbers;
}

// What a rank finds: "exact" is equal for any number of ranks, "close" up to rounding, "weights" are equal on all ranks.
nlohmann::json everything() {
  const test::TemporaryFolder folder;
  nlohmann::json exact, close;
  test::Models models;
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
  const policy::Llama tuned = test::tiny_llama();
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

  PpoConfig settings = test::small_config();
  settings.iterations = 1;
  settings.micro_answers = 1;
  settings.ptx = {.weight = .5, .batch_sequences = 3};
  settings.validation.every = 1;
  PpoJob job = test::small_job();
  job.pretraining = sequences;
  job.held_out = {.prompts = {{1}, {3, 4}}, .reward = test::likes_seven};
  const PpoResult result = train(models.policy, models.critic, job, settings, 1, folder / "ppo");
  close["ppo"] = numbers_of(folder / "ppo", 2);
  return {{"exact", exact},
          {"close", close},
          {"weights",
           runtime::digest(policy::parameters(tuned)) + test::digest(ranked) + test::digest(result.policy) + test::digest(result.critic)}};
}

}  // namespace

TEST_CASE("rank: answers and trains", "[.rank]") {
  at::set_num_threads(1);
  dist::join(dist::place_from([](const char* name) { return std::getenv(name); }), "keel", std::chrono::seconds(60));
  test::answer_of_member(core::dump_json(everything()));
  dist::leave();
}

TEST_CASE("ranks: answers, log-probs and scores are those of one rank to the bit, training's numbers up to rounding", "[ppo]") {
  const auto parsed = [](const std::string& text) { return core::parse_json(text, "a rank's answer"); };
  const nlohmann::json alone = parsed(test::Ranks("rank: answers and trains", 1).answers().at(0));
  for (const int size : {2, 3, 4}) {
    INFO(size << " ranks");
    const auto answers = test::Ranks("rank: answers and trains", size).answers();
    for (const std::string& answer : answers)
      CHECK(answer == answers[0]);
    const nlohmann::json together = parsed(answers[0]);
    CHECK(together.at("exact") == alone.at("exact"));
    for (const auto& [name, numbers] : alone.at("close").items()) {
      const auto& others = together.at("close").at(name);
      REQUIRE(others.size() == numbers.size());
      REQUIRE(numbers.size() > 10);
      for (size_t i = 0; i < numbers.size(); ++i) {
        INFO(name << " " << i);
        CHECK(others[i].get<double>() == Catch::Approx(numbers[i].get<double>()).epsilon(1e-4).margin(1e-5));
      }
    }
  }
}

}  // namespace keel::ppo
