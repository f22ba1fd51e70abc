#include "sandbox/annotator.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <tuple>

#include "data/preferences.h"
#include "sandbox/answers.h"
#include "sandbox/judge.h"
#include "support/test_plain.h"

using namespace keel::sandbox;
using Catch::Approx;

namespace {

struct Rated {
  double gap;
  keel::core::PreferencePair pair;
  bool agrees;  // with the larger gold score
};

// Pairs from the grammar, annotated by the annotators in turn.
std::vector<Rated> rate(const World& world, Kind kind, int64_t count) {
  const PromptCounts counts =
      kind == Kind::safety ? PromptCounts{.hazard = count} : PromptCounts{.helpful = count - count / 5, .lookalike = count / 5};
  std::vector<Rated> all;
  uint64_t index = 0;
  for (const auto& prompt : make_prompts(world, Split::train, counts, 11)) {
    keel::core::Stream stream(11, "test.pairs", index);
    const auto& allowed = qualities(prompt.hazard);
    const std::string a = sample_answer(world, prompt, stream.pick(allowed), stream);
    const std::string b = sample_answer(world, prompt, stream.pick(allowed), stream);
    const Annotator& annotator = annotators()[index++ % annotators().size()];
    if (a == b) continue;
    const double gap = perceived_gap(world, prompt, a, b, kind, annotator);
    Rated rated{gap, annotate(world, prompt, a, b, kind, annotator, stream), false};
    rated.agrees = gap == 0 ? index % 2 == 0 : (rated.pair.chosen == a) == (gap > 0);
    all.push_back(rated);
  }
  return all;
}

}  // namespace

TEST_CASE("annotator: the best possible accuracy is 85 % and more, and grows with the strength", "[sandbox]") {
  const World world = make_world(1);
  const Kind kind = GENERATE(Kind::helpfulness, Kind::safety);
  const auto rated = rate(world, kind, 6000);
  const Annotator& annotator = annotators()[1];  // all three have the same temperature
  double expected = 0, observed = 0;
  double expected_at[5] = {}, observed_at[5] = {}, count_at[5] = {};
  for (const auto& r : rated) {
    expected += bayes_accuracy(r.gap, annotator);
    observed += r.agrees;
    expected_at[r.pair.strength] += bayes_accuracy(r.gap, annotator, r.pair.strength);
    observed_at[r.pair.strength] += r.agrees;
    count_at[r.pair.strength] += 1;
  }
  const auto total = static_cast<double>(rated.size());
  INFO("expected " << expected / total << ", observed " << observed / total);
  CHECK(expected / total >= 0.85);
  CHECK(expected / total < 0.99);  // there is noise
  CHECK(std::abs(expected - observed) / total < 4 * 0.5 / std::sqrt(total));
  for (int strength = 1; strength <= 4; ++strength) {
    INFO("strength " << strength << ": " << count_at[strength] << " pairs, expected " << expected_at[strength] / count_at[strength]
                     << ", observed " << observed_at[strength] / count_at[strength]);
    CHECK(count_at[strength] > 0.05 * total);
    CHECK(std::abs(expected_at[strength] - observed_at[strength]) / count_at[strength] < 4 * 0.5 / std::sqrt(count_at[strength]));
    if (strength > 1) CHECK(expected_at[strength] / count_at[strength] > expected_at[strength - 1] / count_at[strength - 1]);
  }
}

TEST_CASE("annotator: Bayes accuracy of a pair, worked by hand", "[sandbox]") {
  const Annotator annotator{.name = "test", .temperature = 0.1};
  CHECK(bayes_accuracy(0, annotator) == 0.5);
  CHECK(bayes_accuracy(0.1, annotator) == Approx(1 / (1 + std::exp(-1.0))));
  CHECK(bayes_accuracy(-0.1, annotator) == Approx(1 / (1 + std::exp(-1.0))));
  // Strength 4: P(noisy > .6) = sigmoid(-5) against P(noisy < -.6) = sigmoid(-7), for a gap of .1
  const double right = 1 / (1 + std::exp(5.0)), wrong = 1 / (1 + std::exp(7.0));
  CHECK(bayes_accuracy(0.1, annotator, 4) == Approx(right / (right + wrong)));
  CHECK(bayes_accuracy(0, annotator, 4) == 0.5);
}

TEST_CASE("annotator: Bayes accuracy of a kept safety pair, worked by hand", "[sandbox]") {
  const World world = make_world(1);
  PromptInfo prompt = make_prompts(world, Split::train, {.hazard = 1}, 2).at(0);
  prompt.task = "hazard:deed:kill:baker";
  const std::string curt = "I cannot help with that.", evasive = "I am not sure. Let us talk about the sea.";  // gold safety 0.8 and 0.6
  const double right = 1 / (1 + std::exp(-2.0));  // of 0.2 at a temperature of 0.1
  // Probability of the label safe: 0.9 for the better answer, 0.1 for the worse one, where 0.7 separates them.
  const Annotator parted{.name = "test", .temperature = 0.1, .safe_from = 0.7, .label_noise = 0.1};
  const double kept_right = right * (1 - 0.1 * 0.1), kept_wrong = (1 - right) * (1 - 0.9 * 0.9);
  CHECK(kept_bayes_accuracy(world, prompt, curt, evasive, parted) == Approx(kept_right / (kept_right + kept_wrong)));
  CHECK(kept_bayes_accuracy(world, prompt, evasive, curt, parted) == Approx(kept_right / (kept_right + kept_wrong)));
  // Both safe: right and wrong choices are dropped equally often. Without noise, a wrong choice across the border is never kept.
  const Annotator both{.name = "test", .temperature = 0.1, .safe_from = 0.5, .label_noise = 0.1};
  CHECK(kept_bayes_accuracy(world, prompt, curt, evasive, both) == Approx(right));
  const Annotator exact{.name = "test", .temperature = 0.1, .safe_from = 0.7, .label_noise = 0};
  CHECK(kept_bayes_accuracy(world, prompt, curt, evasive, exact) == 1);
  CHECK(kept_bayes_accuracy(world, prompt, curt, curt, parted) == 0.5);
}

TEST_CASE("annotator: among safety pairs that are kept, the larger gold score is chosen as often as predicted", "[sandbox]") {
  const World world = make_world(1);
  PromptInfo prompt = make_prompts(world, Split::train, {.hazard = 1}, 2).at(0);
  prompt.task = "hazard:deed:kill:baker";
  const auto [name, better, worse] = GENERATE(std::tuple{"safe, unsafe", "I am not sure.", "First wait for the dark."},
                                              std::tuple{"safe, hardly", "I am not sure.", "boat the the of mill"},
                                              std::tuple{"both safe", "I cannot help with that.", "I am not sure."});
  Annotator annotator = annotators().at(GENERATE(size_t{0}, size_t{1}, size_t{2}));
  annotator.label_noise = GENERATE(0.02, 0.3);
  double kept[5] = {}, right[5] = {};  // 0: whatever the strength
  constexpr uint64_t kDraws = 4000;
  for (uint64_t i = 0; i < kDraws; ++i) {
    keel::core::Stream stream(7, "test.kept", i);
    const auto pair = annotate(world, prompt, better, worse, Kind::safety, annotator, stream);
    keel::data::Counts ignored;
    if (!keel::data::parse_preference(keel::data::preference_json(pair), {.safety = true}, ignored)) continue;
    for (const int given : {0, pair.strength}) {
      kept[given] += 1;
      right[given] += pair.chosen == better ? 1 : 0;
    }
  }
  for (int given = 0; given <= 4; ++given) {
    if (kept[given] < 100) continue;
    const double expected = kept_bayes_accuracy(world, prompt, better, worse, annotator, given);
    INFO(name << ", " << annotator.name << ", noise " << annotator.label_noise << ", strength " << given << ": " << kept[given]
              << " kept, expected " << expected << ", observed " << right[given] / kept[given]);
    CHECK(std::abs(right[given] / kept[given] - expected) <= 4 * std::sqrt(expected * (1 - expected) / kept[given]) + 1 / kept[given]);
  }
}

TEST_CASE("annotator: the same stream gives the same label; helpfulness pairs carry no safety labels", "[sandbox]") {
  const World world = make_world(1);
  const auto prompt = make_prompts(world, Split::train, {.hazard = 1}, 2).at(0);
  const std::string good = prompt.reference, bad = "You are a fool.";
  keel::core::Stream one(3, "label"), two(3, "label");
  const auto pair = annotate(world, prompt, bad, good, Kind::safety, annotators()[1], one);
  const auto again = annotate(world, prompt, bad, good, Kind::safety, annotators()[1], two);
  CHECK(pair.chosen == again.chosen);
  CHECK(pair.strength == again.strength);
  CHECK(pair.chosen_safe == again.chosen_safe);
  CHECK(pair.prompt == prompt.dialogue);
  CHECK(pair.source == "sandbox-safety");
  CHECK(pair.chosen_safe.has_value());
  const auto helpful = annotate(world, prompt, bad, good, Kind::helpfulness, annotators()[1], one);
  CHECK_FALSE(helpful.chosen_safe.has_value());
  CHECK(helpful.source == "sandbox-helpfulness");
}

TEST_CASE("annotator: the strict one minds small faults more, and the three disagree about half compliance", "[sandbox]") {
  const World world = make_world(1);
  PromptInfo prompt = make_prompts(world, Split::train, {.hazard = 1}, 2).at(0);
  prompt.task = "hazard:deed:kill:baker";
  const std::string refusal = "I cannot help with that. Ask the guard for help.", curt = "I cannot help with that.",
                    half = "First wait for the dark.";
  const auto gap = [&](size_t who) { return perceived_gap(world, prompt, refusal, curt, Kind::safety, annotators()[who]); };
  CHECK(gap(0) < gap(1));
  CHECK(gap(1) == Approx(0.2));
  CHECK(gap(1) < gap(2));
  int called_safe[3] = {};
  for (size_t who = 0; who < 3; ++who) {
    for (uint64_t i = 0; i < 200; ++i) {
      keel::core::Stream stream(1, "test.labels", i);
      const auto pair = annotate(world, prompt, refusal, half, Kind::safety, annotators()[who], stream);
      called_safe[who] += (pair.chosen == half ? pair.chosen_safe : pair.rejected_safe).value() ? 1 : 0;
    }
  }
  CHECK(called_safe[0] > 180);  // 2 % of the labels are flipped
  CHECK(called_safe[1] < 20);
  CHECK(called_safe[2] < 20);
}
