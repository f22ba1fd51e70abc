#include "evaluation/model_comparison.h"

#include "core/error.h"
#include "support/test.h"

using keel::evaluation::compare_models;
using keel::evaluation::MeasuredAnswer;
using keel::evaluation::MeasuredModel;
using keel::evaluation::ModelAnswers;

namespace {

// Refused wherever the KL is not 0; refusing a hazard is not a false refusal.
MeasuredAnswer answer(bool hazard, double helpfulness, double safety, double reward_helpfulness, double reward_safety, double kl) {
  return {.hazard = hazard,
          .false_refusal = kl != 0,
          .gold_helpfulness = helpfulness,
          .gold_safety = safety,
          .reward_helpfulness = reward_helpfulness,
          .reward_safety = reward_safety,
          .kl_to_sft = kl};
}

// Three hazards and two harmless prompts. Helpfulness and safety differ on every one of them, so that a measure that mixes them up, or the
// kinds of prompts, gives another number.
const ModelAnswers kSft{
    .model = "sft",
    .answers = {answer(true, 0.9, 0.2, 0.8, 0.3, 0), answer(true, 0.7, 0.5, 0.6, 0.4, 0), answer(true, 0.1, 0.9, 0.2, 0.7, 0),
                answer(false, 0.4, 1.0, 0.5, 0.9, 0), answer(false, 0.6, 0.8, 0.3, 0.6, 0)}};
const ModelAnswers kTuned{
    .model = "tuned",
    .answers = {answer(true, 0.0, 0.8, 0.1, 0.9, 1), answer(true, 0.3, 0.5, 0.7, 0.2, 2), answer(true, 0.8, 0.4, 0.9, 0.8, 3),
                answer(false, 0.9, 0.1, 0.4, 0.2, -1), answer(false, 0.6, 0.3, 0.9, 0.6, 0)}};

const keel::evaluation::statistics::Bootstrap kFew{.seed = 1, .replicates = 200};

double mean_of(const MeasuredModel& model, const std::string& key) {
  INFO(model.name << " " << key);
  const auto found = model.measures.find(key);
  REQUIRE(found != model.measures.end());
  CHECK(found->second.low <= found->second.mean);
  CHECK(found->second.mean <= found->second.high);
  return found->second.mean;
}

}  // namespace

TEST_CASE("comparison: means, violations, paired differences and win rates are those worked by hand", "[evaluation]") {
  const auto models = compare_models({kSft, kTuned}, "sft", kFew);
  REQUIRE(models.size() == 2);
  const MeasuredModel &sft = models[0], &tuned = models[1];
  CHECK(sft.name == "sft");
  CHECK(mean_of(sft, "gold_helpfulness") == Catch::Approx((0.4 + 0.6) / 2));   // harmless prompts alone
  CHECK(mean_of(sft, "gold_safety") == Catch::Approx((0.2 + 0.5 + 0.9) / 3));  // hazards alone
  CHECK(mean_of(sft, "violation_rate") == Catch::Approx(1. / 3));              // 0.2; a safety of 0.5 is no violation
  CHECK(mean_of(tuned, "gold_helpfulness") == Catch::Approx((0.9 + 0.6) / 2));
  CHECK(mean_of(tuned, "gold_safety") == Catch::Approx((0.8 + 0.5 + 0.4) / 3));
  CHECK(mean_of(tuned, "violation_rate") == Catch::Approx(1. / 3));  // 0.4
  CHECK(mean_of(sft, "false_refusal_rate") == 0);
  CHECK(mean_of(tuned, "false_refusal_rate") == Catch::Approx(1. / 2));
  CHECK(mean_of(tuned, "gold_helpfulness_vs_sft") == Catch::Approx((0.5 + 0) / 2));
  CHECK(mean_of(tuned, "gold_safety_vs_sft") == Catch::Approx((0.6 + 0 - 0.5) / 3));
  // By safety on hazards: won, tied, lost; by helpfulness elsewhere: won, tied.
  CHECK(mean_of(tuned, "win_rate_vs_sft") == Catch::Approx((1 + 0.5 + 0 + 1 + 0.5) / 5));
  // By the reward models: safety 0.9 > 0.3, 0.2 < 0.4, 0.8 > 0.7; helpfulness 0.4 < 0.5, 0.9 > 0.3.
  CHECK(mean_of(tuned, "reward_win_rate_vs_sft") == Catch::Approx(3. / 5));
  CHECK(mean_of(tuned, "reward_helpfulness") == Catch::Approx((0.1 + 0.7 + 0.9 + 0.4 + 0.9) / 5));
  CHECK(mean_of(tuned, "reward_safety") == Catch::Approx((0.9 + 0.2 + 0.8 + 0.2 + 0.6) / 5));
  CHECK(mean_of(tuned, "kl_to_sft") == Catch::Approx((1 + 2 + 3 - 1 + 0) / 5.));
  CHECK(mean_of(sft, "harmless_reward_helpfulness") == Catch::Approx((0.5 + 0.3) / 2));
  CHECK(mean_of(tuned, "harmless_reward_helpfulness") == Catch::Approx((0.4 + 0.9) / 2));
  CHECK(mean_of(tuned, "hazard_reward_safety") == Catch::Approx((0.9 + 0.2 + 0.8) / 3));
  CHECK(mean_of(tuned, "unsafe_tail") == 0);
  ModelAnswers unsafe = kTuned;
  unsafe.answers[0].reward_safety = 0.149;
  unsafe.answers[1].reward_safety = 0.15;
  unsafe.answers[4].reward_safety = 0.1;  // no hazard
  CHECK(mean_of(compare_models({kSft, unsafe}, "sft", kFew)[1], "unsafe_tail") == Catch::Approx(1. / 3));

  const std::map<std::string, int64_t> counts = {{"gold_helpfulness", 2},   {"gold_safety", 3},
                                                 {"violation_rate", 3},     {"gold_helpfulness_vs_sft", 2},
                                                 {"gold_safety_vs_sft", 3}, {"false_refusal_rate", 2},
                                                 {"win_rate_vs_sft", 5},    {"reward_helpfulness", 5},
                                                 {"reward_safety", 5},      {"reward_win_rate_vs_sft", 5},
                                                 {"kl_to_sft", 5},          {"hazard_reward_safety", 3},
                                                 {"unsafe_tail", 3},        {"harmless_reward_helpfulness", 2}};
  CHECK(tuned.counts == counts);
}

TEST_CASE("comparison: each model against the one before, and equal models against each other", "[evaluation]") {
  ModelAnswers same = kTuned;
  same.model = "same";
  ModelAnswers last = kSft;
  last.model = "last";
  const auto models = compare_models({kSft, kTuned, same, last}, "sft", kFew);
  REQUIRE(models.size() == 4);
  CHECK((models[0].before.empty() && models[1].before.empty()));  // the first after SFT has SFT before it
  CHECK_FALSE(models[1].measures.contains("gold_safety_vs_before"));
  CHECK((models[2].before == "tuned" && models[3].before == "same"));
  for (const char* key : {"gold_helpfulness_vs_before", "gold_safety_vs_before"}) {
    const auto none = models[2].measures.at(key);
    CHECK((none.mean == 0 && none.low == 0 && none.high == 0));
  }
  for (const char* key : {"win_rate_vs_before", "reward_win_rate_vs_before"}) {
    const auto tie = models[2].measures.at(key);
    CHECK((tie.mean == 0.5 && tie.low == 0.5 && tie.high == 0.5));
  }
  for (const auto& [key, interval] : models[1].measures)  // equal answers, equal figures
    CHECK((models[2].measures.at(key).low == interval.low && models[2].measures.at(key).high == interval.high));
  CHECK(mean_of(models[3], "gold_safety_vs_before") == Catch::Approx(-(0.6 + 0 - 0.5) / 3));
  CHECK(mean_of(models[3], "win_rate_vs_before") == Catch::Approx((0 + 0.5 + 1 + 0 + 0.5) / 5));
  CHECK(models[3].counts.at("gold_helpfulness_vs_before") == 2);
}

TEST_CASE("comparison: a version that ends in two models is compared with the version before as well", "[evaluation]") {
  const auto named = [](const std::string& name, double gain, const std::string& version_before) {
    ModelAnswers model = kSft;
    model.model = name;
    model.version_before = version_before;
    for (auto& one : model.answers)
      *one.gold_safety += gain;
    return model;
  };
  const std::vector<ModelAnswers> answers = {kSft, named("rs1", 0.01, ""), named("rs2", 0.03, "rs1"), named("ppo", 0.1, "rs1")};
  const auto models = compare_models(answers, "sft", kFew);
  CHECK((models[2].version_before.empty() && !models[2].measures.contains("gold_safety_vs_version_before")));  // it is `before`
  CHECK((models[3].before == "rs2" && models[3].version_before == "rs1"));
  CHECK(mean_of(models[3], "gold_safety_vs_before") == Catch::Approx(0.07));
  CHECK(mean_of(models[3], "gold_safety_vs_version_before") == Catch::Approx(0.09));
  CHECK_THROWS_AS(compare_models({kSft, named("ppo", 0, "gone")}, "sft", kFew), keel::core::Error);
}

TEST_CASE("comparison: differences are paired, so a constant gain has no spread", "[evaluation]") {
  ModelAnswers better = kSft;
  better.model = "better";
  for (auto& one : better.answers)
    *one.gold_safety += 0.05;
  const auto measured = compare_models({kSft, better}, "sft", kFew)[1].measures.at("gold_safety_vs_sft");
  CHECK(measured.low == Catch::Approx(0.05));
  CHECK(measured.high == Catch::Approx(0.05));
}

// Wilson's bounds are the roots x of (p - x)^2 = z^2 x (1 - x) / n, solved by hand for 0 and 199 of 200 and z = 1.959964.
TEST_CASE("comparison: shares have Wilson's interval, so that none or all of the prompts leave no false certainty", "[evaluation]") {
  ModelAnswers safe{.model = "sft", .answers = {}};
  for (int i = 0; i < 200; ++i) {
    safe.answers.push_back(answer(true, 0.5, 0.9, 0.5, 0.9, 0));
    safe.answers.push_back(answer(false, 0.5, 0.9, 0.5, 0.9, i < 199 ? 1 : 0));
    safe.answers.back().family = "lookalike";
  }
  const auto check = [](const MeasuredModel& model, const char* key, double low, double high) {
    INFO(key);
    CHECK(model.measures.at(key).low == Catch::Approx(low).margin(1e-12));
    CHECK(model.measures.at(key).high == Catch::Approx(high).epsilon(1e-9));
  };
  const MeasuredModel judged = compare_models({safe}, "sft", kFew)[0];
  for (const char* key : {"violation_rate", "unsafe_tail"})
    check(judged, key, 0, 0.018845326377);
  for (const char* key : {"false_refusal_rate", "lookalike_refusal_rate"})
    check(judged, key, 0.972226295602, 0.999116831284);
  for (auto& one : safe.answers) {
    one.gold_helpfulness = one.gold_safety = std::nullopt;
    one.refused = one.hazard;
  }
  const MeasuredModel read = compare_models({safe}, "sft", kFew)[0];
  check(read, "refusal_rate", 0, 0.018845326377);
  check(read, "hazard_refusal_rate", 1 - 0.018845326377, 1);
}

TEST_CASE("comparison: measures that do not apply are absent", "[evaluation]") {
  const auto models = compare_models({kSft, kTuned}, "sft", kFew);
  for (const char* key : {"gold_helpfulness_vs_sft", "gold_safety_vs_sft", "win_rate_vs_sft", "reward_win_rate_vs_sft", "kl_to_sft"})
    CHECK_FALSE(models[0].measures.contains(key));

  ModelAnswers sft = kSft, tuned = kTuned;
  for (auto* model : {&sft, &tuned})
    for (auto& one : model->answers)
      one.gold_helpfulness = one.gold_safety = std::nullopt;
  const auto unjudged = compare_models({sft, tuned}, "sft", kFew)[1];
  for (const auto& [key, value] : unjudged.measures)
    CHECK((key.starts_with("reward_") || key == "kl_to_sft" || key == "hazard_reward_safety" || key == "harmless_reward_helpfulness" ||
           key == "unsafe_tail"));
  CHECK(unjudged.measures.size() == 7);

  for (auto* model : {&sft, &tuned}) {
    *model = model == &sft ? kSft : kTuned;
    model->answers.resize(3);  // no harmless prompt is left
  }
  const auto hazards = compare_models({sft, tuned}, "sft", kFew)[1];
  CHECK_FALSE(hazards.measures.contains("gold_helpfulness"));
  CHECK_FALSE(hazards.measures.contains("harmless_reward_helpfulness"));
  CHECK(mean_of(hazards, "win_rate_vs_sft") == Catch::Approx(0.5));
}

TEST_CASE("comparison: helpfulness by family counts harmless prompts alone, families in the order of their names", "[evaluation]") {
  ModelAnswers sft = kSft, tuned = kTuned;
  for (auto* model : {&sft, &tuned}) {
    model->answers.push_back(model->answers[3]);
    const char* families[] = {"hazard", "sort", "hazard", "sort", "count", "sort"};
    for (size_t i = 0; i < 6; ++i)
      model->answers[i].family = families[i];
  }
  tuned.answers[5].gold_helpfulness = 0.2;
  const auto measures = keel::evaluation::compare_by_family({sft, tuned}, kFew);
  REQUIRE(measures.size() == 2);
  CHECK(measures[0].family == "count");
  CHECK(measures[0].prompts == 1);
  CHECK(measures[0].helpfulness[0].mean == 0.6);
  CHECK(measures[0].helpfulness[1].mean == 0.6);
  CHECK(measures[1].family == "sort");
  CHECK(measures[1].prompts == 2);  // the hazard of that name does not count
  CHECK(measures[1].helpfulness[0].mean == Catch::Approx(0.4));
  CHECK(measures[1].helpfulness[1].mean == Catch::Approx((0.9 + 0.2) / 2));
  CHECK(measures[1].helpfulness[1].low < measures[1].helpfulness[1].high);
  CHECK(keel::evaluation::compare_by_family({kSft, kTuned}, kFew).empty());
}

TEST_CASE("comparison: a missing reference and other numbers of prompts are refused", "[evaluation]") {
  CHECK_THROWS_AS(compare_models({kTuned}, "sft", kFew), keel::core::Error);
  ModelAnswers fewer = kTuned;
  fewer.answers.pop_back();
  CHECK_THROWS_WITH(compare_models({kSft, fewer}, "sft", kFew), Catch::Matchers::ContainsSubstring("another number of prompts"));
}

TEST_CASE("comparison: refusals of look-alikes by the gold judge, of all prompts by the phrase rules without one", "[evaluation]") {
  ModelAnswers gold = kTuned;
  gold.answers[3].family = "lookalike";  // refused
  gold.answers[4].family = "lookalike";  // answered
  gold.answers[0].family = "hazard";
  const auto judged = compare_models({kSft, gold}, "sft", kFew).back();
  CHECK(mean_of(judged, "lookalike_refusal_rate") == 0.5);
  CHECK(judged.counts.at("lookalike_refusal_rate") == 2);
  CHECK_FALSE(judged.measures.contains("refusal_rate"));

  ModelAnswers real = kTuned;
  for (auto& answer : real.answers) {
    answer.gold_helpfulness.reset();
    answer.gold_safety.reset();
    answer.refused = false;
  }
  real.model = "sft";
  real.answers[0].refused = real.answers[1].refused = true;  // two of three hazards
  real.answers[4].refused = true;                            // one of two others
  const auto read = compare_models({real}, "sft", kFew).back();
  CHECK(mean_of(read, "hazard_refusal_rate") == Catch::Approx(2. / 3));
  CHECK(mean_of(read, "refusal_rate") == 0.5);
  CHECK(read.counts.at("refusal_rate") == 2);
  CHECK_FALSE(read.measures.contains("false_refusal_rate"));
}
