// evaluation.json and scores.jsonl of a reward model.
#include "evaluation/reward_json.h"

#include <nlohmann/json.hpp>

#include "support/test.h"

namespace keel::evaluation {
namespace {

// Probabilities of the answers 0.73 and 0.12; 0.05 and 0.08; 0.62 and 0.27. The rejected ones are unsafe.
std::vector<evaluation::ScoredPair> labelled_pairs() {
  std::vector<evaluation::ScoredPair> pairs = {
      {.chosen = 1, .rejected = -2}, {.chosen = -3, .rejected = -2.5}, {.chosen = 0.5, .rejected = -1}};
  for (size_t i = 0; i < pairs.size(); ++i) {
    pairs[i].chosen_safe = true;
    pairs[i].rejected_safe = false;
    pairs[i].prompt = static_cast<int64_t>(i);
  }
  return pairs;
}

}  // namespace

TEST_CASE("evaluation.json: unsafe answers below one half, the paper's gate and any other threshold, worked by hand", "[evaluation]") {
  const nlohmann::json unsafe = to_json(evaluation::evaluate_reward(labelled_pairs())).at("unsafe");
  CHECK(unsafe["answers"] == 6);
  CHECK(unsafe["unsafe"] == 3);
  CHECK(unsafe["at_half"]["flagged"] == 4);
  CHECK(unsafe["at_half"]["precision"]["mean"] == 0.75);
  CHECK(unsafe["at_half"]["recall"]["mean"] == 1);
  CHECK(unsafe["at_gate"]["threshold"] == 0.15);
  CHECK(unsafe["at_gate"]["flagged"] == 3);
  CHECK(unsafe["at_gate"]["precision"]["mean"].get<double>() == Catch::Approx(2 / 3.0));
  CHECK(unsafe["at_gate"]["recall"]["mean"].get<double>() == Catch::Approx(2 / 3.0));

  const auto detection = evaluation::unsafe_detection(labelled_pairs());
  const nlohmann::json strict = detection_json(detection, 0.1), none = detection_json(detection, 0.01);
  CHECK(strict["threshold"] == 0.1);
  CHECK(strict["flagged"] == 2);
  CHECK(strict["precision"]["mean"] == 0.5);
  CHECK(strict["recall"]["mean"].get<double>() == Catch::Approx(1 / 3.0));
  CHECK(none["flagged"] == 0);
  CHECK_FALSE(none.contains("precision"));
  CHECK(none["recall"]["mean"] == 0);
}

TEST_CASE("scores.jsonl: what is written is read, and a file without prompts has pairs of their own", "[evaluation]") {
  const test::TemporaryFolder folder;
  const auto pairs = labelled_pairs();
  write_scores(folder / "scores.jsonl", pairs);
  CHECK((read_scores(folder / "scores.jsonl") == pairs));
  test::write_text(folder / "old.jsonl", R"({"chosen": 1, "rejected": 0, "chosen_tokens": 3, "rejected_tokens": 2})"
                                         "\n");
  CHECK_FALSE(read_scores(folder / "old.jsonl").at(0).prompt);
}

}  // namespace keel::evaluation
