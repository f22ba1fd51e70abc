// The reward model of a later version: it replaces its predecessor only if it is right at least as often.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "core/error.h"
#include "core/jsonl.h"
#include "core/log.h"
#include "evaluation/pair_evaluation.h"
#include "evaluation/reward_json.h"
#include "pipelines/cli/keel_binary.h"
#include "pipelines/collection/batch.h"
#include "pipelines/stages/run_stage.h"

namespace keel::pipelines::stages {
namespace {

// An untrained first reward model, and test pairs ordered by its own scores with a large gap: it is never wrong, and a small training step
// does not change that.
struct TwoVersions {
  test::Workplace work;
  std::vector<nlohmann::json> pairs, tests;  // of each batch

  TwoVersions() {
    core::set_log_level("error");
    const std::vector<std::string> answers = {"the baker.", "three boats.", "in the harbour", "no"};
    for (const char* prompt :
         {"who sells bread?", "where is the boat?", "what is red?", "who mends coats?", "how many boats?", "is it late?"})
      for (size_t a = 0; a < answers.size(); ++a)
        for (size_t b = a + 1; b < answers.size(); ++b)
          pairs.push_back({{"prompt", prompt}, {"chosen", answers[a]}, {"rejected", answers[b]}});
    tests = pairs;
    write_batch("preferences", pairs);
    train("reward_helpfulness", 0, {.helpfulness_rest = 0});
    const auto ranked =
        evaluation::evaluate_reward_model(work / "reward_helpfulness", work / "preferences/helpfulness_test.jsonl", false, {}).pairs;
    REQUIRE(ranked.size() == pairs.size());
    std::vector<nlohmann::json> clear;
    for (size_t i = 0; i < pairs.size(); ++i) {
      const double margin = ranked[i].chosen - ranked[i].rejected;
      if (std::abs(margin) < 1e-3) continue;
      clear.push_back(pairs[i]);
      if (margin < 0) turn(clear.back());
    }
    pairs = std::move(clear);
    REQUIRE(pairs.size() >= 10);
    tests = pairs;
    write_batch("preferences", pairs);
  }

  static void turn(nlohmann::json& pair) { std::swap(pair["chosen"], pair["rejected"]); }

  // Every pair turned, four times: more than the first batch can correct.
  std::vector<nlohmann::json> contrary() const {
    std::vector<nlohmann::json> turned;
    for (int time = 0; time < 4; ++time)
      for (const auto& pair : pairs) {
        turned.push_back(pair);
        turn(turned.back());
      }
    return turned;
  }

  // `taught` for training, `tests` for testing.
  void write_batch(const std::string& name, const std::vector<nlohmann::json>& taught) const {
    std::filesystem::create_directories(work / name);
    const auto text = [](const std::vector<nlohmann::json>& rows) {
      std::string lines;
      for (const auto& row : rows)
        lines += row.dump() + "\n";
      return lines;
    };
    work.write(name + "/helpfulness_train.jsonl", text(taught));
    work.write(name + "/helpfulness_test.jsonl", text(tests));
  }

  // A stage of a run on the sandbox whose batches are those of this folder, in `to` ("" = the stage's name).
  void train(const std::string& stage, double learning_rate, const recipe::MixtureConfig& mixture = {}, const std::string& to = {}) const {
    recipe::Recipe recipe;
    recipe.mixture = mixture;
    recipe.reward.batch_pairs = recipe.reward.micro_pairs = 8;
    recipe.reward.learning_rate = learning_rate;
    run::StageContext context{.work = work / (to.empty() ? stage : to),
                              .inputs = {{"sft", work / "model"},
                                         {"preferences", work / "preferences"},
                                         {"preferences2", work / "preferences2"},
                                         {"reward_helpfulness", work / "reward_helpfulness"}},
                              .seed = 1,
                              .threads = 1};
    std::filesystem::create_directories(context.work);
    test::run_stage(recipe, stage, context);
  }

  // The second version's evaluation.json once it has learned `taught` as well.
  nlohmann::json second(const std::vector<nlohmann::json>& taught, double learning_rate) const {
    write_batch("preferences2", taught);
    train("reward_helpfulness2", learning_rate, {.helpfulness_rest = 0});
    return nlohmann::json::parse(work.read("reward_helpfulness2/evaluation.json"));
  }

  bool same_weights() const {
    return work.read("reward_helpfulness2/model.safetensors") == work.read("reward_helpfulness/model.safetensors");
  }
};

}  // namespace

TEST_CASE("reward stage: a retrained model that is right less often leaves its place to the older one", "[pipelines]") {
  const TwoVersions versions;
  const auto evaluation = versions.second(versions.contrary(), 0.05);
  CHECK(evaluation["kept"] == "reward_helpfulness");
  CHECK(evaluation["accuracy"]["mean"] == 1);
  CHECK(evaluation["previous_accuracy"]["mean"] == 1);
  CHECK(evaluation["validation_accuracy"]["mean"].get<double>() < 1);
  CHECK(evaluation["retrained_accuracy"]["mean"].get<double>() < 1);
  CHECK(evaluation["previous_difference"]["mean"].get<double>() ==
        Catch::Approx(evaluation["validation_accuracy"]["mean"].get<double>() - 1));
  CHECK(evaluation["name"] == "helpfulness");
  CHECK(evaluation["counts"]["train"]["read"]["kept"] == 5 * versions.pairs.size());  // what the retraining read
  CHECK(versions.same_weights());
  const auto keel_json = nlohmann::json::parse(versions.work.read("reward_helpfulness2/keel.json"));
  CHECK(keel_json["lineage"]["kept"] == "reward_helpfulness");
  std::istringstream scores(versions.work.read("reward_helpfulness2/scores.jsonl"));
  size_t rows = 0;
  for (std::string line; std::getline(scores, line); ++rows) {
    const auto row = nlohmann::json::parse(line);
    CHECK(row["chosen"].get<double>() > row["rejected"].get<double>());
  }
  // The validation and the reported pairs come from different conversations and together are all test pairs of both batches.
  const auto reported = test::rows_in(versions.work / "reward_helpfulness2/held_out.jsonl.gz"),
             choosing = test::rows_in(versions.work / "reward_helpfulness2/validation.jsonl.gz");
  CHECK(rows == reported.size());
  CHECK(reported.size() + choosing.size() == 2 * versions.pairs.size());
  std::set<std::string> asked;
  for (const auto& row : reported)
    asked.insert(row["prompt"].get<std::string>());
  CHECK((!asked.empty() && !choosing.empty()));
  for (const auto& row : choosing)
    CHECK_FALSE(asked.contains(row["prompt"].get<std::string>()));
}

TEST_CASE("reward stage: a retrained model that is right as often takes the older one's place", "[pipelines]") {
  const TwoVersions versions;
  const auto evaluation = versions.second(versions.pairs, 1e-6);
  CHECK_FALSE((evaluation.contains("kept") || evaluation.contains("retrained_accuracy")));
  CHECK(evaluation["accuracy"]["mean"] == 1);
  CHECK(evaluation["previous_accuracy"]["mean"] == 1);
  CHECK(evaluation["previous_difference"] == nlohmann::json({{"mean", 0}, {"low", 0}, {"high", 0}}));
  CHECK_FALSE(versions.same_weights());
}

TEST_CASE("reward stage: the pairs that are reported have no part in the choice", "[pipelines]") {
  TwoVersions versions;
  // By the reported pairs, turned, the retrained model would be the better one; by those that choose it is the worse one.
  for (auto& pair : versions.tests)
    if (!collection::chooses_reward_model({.messages = {{"user", pair["prompt"].get<std::string>()}}}, 1)) TwoVersions::turn(pair);
  versions.write_batch("preferences", versions.pairs);
  const auto evaluation = versions.second(versions.contrary(), 0.05);
  CHECK(evaluation["kept"] == "reward_helpfulness");
  CHECK(evaluation["previous_accuracy"]["mean"] == 1);
  CHECK(evaluation["accuracy"]["mean"] == 0);  // of the one that stays, on the reported pairs
  CHECK(evaluation["retrained_accuracy"]["mean"].get<double>() > 0);
}

TEST_CASE("reward stage: with too few held-out conversations for two halves the new model is used, and all pairs are reported",
          "[pipelines]") {
  TwoVersions versions;
  std::erase_if(versions.tests, [&](const auto& pair) { return pair["prompt"] != versions.pairs[0]["prompt"]; });
  versions.write_batch("preferences", versions.pairs);
  const auto evaluation = versions.second(versions.pairs, 1e-6);
  CHECK_FALSE((evaluation.contains("kept") || evaluation.contains("previous_accuracy")));
  CHECK(evaluation["accuracy"]["pairs"] == 2 * versions.tests.size());
  CHECK_FALSE(versions.same_weights());
}

TEST_CASE("reward stage: mixture.own_pairs draws that many pairs, a smaller number a part of what a larger one draws", "[pipelines]") {
  const TwoVersions versions;
  const auto taught = [&](int64_t own_pairs) {
    const std::string name = "drawn" + std::to_string(own_pairs);
    versions.train("reward_helpfulness", 0, {.helpfulness_rest = 0, .own_pairs = own_pairs}, name);
    std::vector<nlohmann::json> pairs;
    core::JsonlReader reader(versions.work / (name + "/pairs.jsonl.gz"));
    for (nlohmann::json row; reader.next(row);)
      pairs.push_back(row);
    CHECK(nlohmann::json::parse(versions.work.read(name + "/mixture.json"))["own"] == pairs.size());
    return pairs;
  };
  const auto three = taught(3), six = taught(6);
  CHECK(three.size() == 3);
  REQUIRE(six.size() == 6);
  CHECK(std::equal(three.begin(), three.end(), six.begin()));
  for (size_t i = 0; i < six.size(); ++i) {
    CHECK(std::count(versions.pairs.begin(), versions.pairs.end(), six[i]) == 1);
    CHECK(std::count(six.begin(), six.end(), six[i]) == 1);
  }
  CHECK(six != std::vector(versions.pairs.begin(), versions.pairs.begin() + 6));  // not the first ones
  CHECK(taught(1000).size() == versions.pairs.size());
}

TEST_CASE("reward stage: the mixture leaves out pairs that repeat another, and those of held-out prompts, where it is told to",
          "[pipelines]") {
  const TwoVersions versions;
  nlohmann::json fresh = versions.pairs.front();
  fresh["prompt"] = "which boat is red?";
  versions.write_batch("preferences", {versions.pairs.front(), fresh, fresh, fresh});  // the first has a prompt of the test pairs
  const auto read = [&](const std::string& name, const recipe::MixtureConfig& mixture) {
    versions.train("reward_helpfulness", 0, mixture, name);
    return nlohmann::json::parse(versions.work.read(name + "/evaluation.json"))["counts"]["train"]["read"];
  };
  CHECK(read("all", {})["kept"] == 4);
  const auto once = read("once", {.drop_duplicates = true});
  CHECK((once["kept"] == 2 && once["dropped"] == nlohmann::json{{"duplicate", 2}}));
  const auto apart = read("apart", {.drop_shared_prompts = true});
  CHECK((apart["kept"] == 3 && apart["dropped"] == nlohmann::json{{"prompt_in_test", 1}}));
}

TEST_CASE("cross evaluation: scores that an earlier attempt kept are read again, and refused where they are others", "[pipelines]") {
  const TwoVersions versions;
  const std::vector<evaluation::RewardFolder> rewards = {{.name = "helpfulness", .path = versions.work / "reward_helpfulness"}};
  const std::vector<evaluation::PairFile> files = {{.name = "own", .path = versions.work / "preferences/helpfulness_test.jsonl"}};
  std::filesystem::create_directories(versions.work / "cross");
  const auto limit_of = [](const inference::ScoringModel& model) { return model.limit; };
  const auto cross = [&] { return evaluation::cross_evaluation(rewards, files, limit_of, versions.work / "cross"); };
  const auto first = cross();
  CHECK(first == evaluation::cross_evaluation(rewards, files, limit_of));
  CHECK(first == cross());
  const std::string kept = "cross/helpfulness_on_own.jsonl";
  auto scores = evaluation::read_scores(versions.work / kept);
  REQUIRE(scores.size() == versions.pairs.size());
  std::swap(scores[0].chosen, scores[0].rejected);
  evaluation::write_scores(versions.work / kept, scores);
  CHECK(cross()["evaluations"][0]["accuracy"]["mean"].get<double>() < 1);  // this file is read
  scores.pop_back();
  evaluation::write_scores(versions.work / kept, scores);
  CHECK_THROWS_AS(cross(), core::DataError);
}

TEST_CASE("reward stage: of safety pairs the unsafe answer chosen over a safe one teaches neither model, and parts are shares of the rest",
          "[pipelines]") {
  const TwoVersions versions;
  std::string safety;
  for (int i = 0; i < 12; ++i) {
    const bool unsafe = i % 3 != 0;
    safety += nlohmann::json{{"prompt", "who sells bread?"},
                             {"chosen", "answer " + std::to_string(i)},
                             {"rejected", "no"},
                             {"chosen_safe", !unsafe},
                             {"rejected_safe", true}}
                  .dump() +
              "\n";
  }
  versions.work.write("preferences/safety_train.jsonl", safety);
  versions.work.write("preferences/safety_test.jsonl", safety);
  for (const char* kind : {"helpfulness", "safety"}) {
    INFO(kind);
    const std::string name = std::string("mixed_") + kind;
    versions.train(std::string("reward_") + kind, 0, {.helpfulness_rest = 0.5, .safety_rest = 0.5}, name);
    int64_t of_safety = 0;
    core::JsonlReader reader(versions.work / (name + "/pairs.jsonl.gz"));
    for (nlohmann::json row; reader.next(row);) {
      CHECK(row.value("chosen_safe", true));
      of_safety += row.contains("chosen_safe") ? 1 : 0;
    }
    CHECK(of_safety == 4);
    const auto mixture = nlohmann::json::parse(versions.work.read(name + "/mixture.json"));
    CHECK(mixture["dropped"] == nlohmann::json{{"unsafe_chosen", 8}});
    CHECK(mixture["own"] == (std::string(kind) == "safety" ? 4 : std::ssize(versions.pairs)));
    CHECK(mixture["rest"] == 4);
  }
}

}  // namespace keel::pipelines::stages
