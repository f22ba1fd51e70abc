#include "reward/classifier.h"

#include <cmath>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/metrics.h"
#include "support/options.h"
#include "support/tiny_model.h"

using namespace keel::reward;

namespace {

RewardModel blank_classifier() {
  RewardModel model = make_reward_model(keel::test::tiny_llama(), HeadStart::zeros, 0);
  keel::test::fill_by_formula(parameters(model));
  return model;
}

// Answers of unequal length; "yes" is that id 7 stands somewhere.
std::vector<LabelledRow> toy_rows(int64_t count, int64_t first = 0) {
  std::vector<LabelledRow> rows;
  for (int64_t p = first; p < first + count; ++p) {
    LabelledRow row;
    for (int64_t t = 0; t < 3 + p % 4; ++t)
      row.ids.push_back(1 + (3 * p + 2 * t * t + p * t) % 6);
    row.yes = p % 2 == 0;
    if (row.yes) row.ids[static_cast<size_t>(p / 2 % std::ssize(row.ids))] = 7;
    rows.push_back(row);
  }
  return rows;
}

ClassifierTrainConfig few_steps() {
  ClassifierTrainConfig config;
  config.epochs = 3;
  config.batch_rows = 3;
  config.learning_rate = .01;
  return config;
}

std::vector<double> values_of(const std::filesystem::path& metrics, const std::string& wanted) {
  std::vector<double> values;
  for (const auto& point : keel::core::read_metrics(metrics))
    for (const auto& [name, value] : point.values)
      if (name == wanted) values.push_back(value);
  return values;
}

}  // namespace

TEST_CASE("classifier: the loss is the binary cross-entropy of the last token's score", "[reward]") {
  // Scores of these rows by transformers (tools/oracle/reward_model.py).
  const std::vector<LabelledRow> rows = {{{3, 1, 4, 1, 5}, true}, {{9, 2}, false}, {{6, 5, 3, 5, 8, 9, 7}, true}};
  const double scores[] = {.5123386, .5202786, -.7658251};
  double expected = 0;
  for (size_t i = 0; i < 3; ++i)
    expected += std::log1p(std::exp(rows[i].yes ? -scores[i] : scores[i])) / 3;
  const keel::test::TemporaryFolder folder;
  ClassifierTrainConfig config = few_steps();
  config.epochs = 1;
  train_classifier(blank_classifier(), rows, config, 1, folder.path(), "toy");
  CHECK(values_of(folder / "metrics.jsonl", "loss").at(0) == Catch::Approx(expected).epsilon(1e-5));
  double right = 0;
  for (size_t i = 0; i < 3; ++i)
    right += rows[i].yes == (scores[i] > 0) ? 1 : 0;
  CHECK(values_of(folder / "metrics.jsonl", "accuracy").at(0) == Catch::Approx(right / 3));
  CHECK(values_of(folder / "metrics.jsonl", "num_tokens").at(0) == 14);
}

TEST_CASE("classifier: one step at a constant rate moves against the loss's slope", "[reward]") {
  // AdamW's first step is about rate * sign(gradient) for every weight: the slope of each of the head's weights by differences.
  const std::vector<LabelledRow> rows = toy_rows(6);
  const auto loss_with = [&](int64_t weight, double shift) {
    RewardModel model = blank_classifier();
    model.score[0][weight] += shift;
    std::vector<keel::core::Ids> ids;
    for (const auto& row : rows)
      ids.push_back(row.ids);
    const auto scores = score_rows(model, ids);
    double loss = 0;
    for (size_t i = 0; i < rows.size(); ++i)
      loss += std::log1p(std::exp(rows[i].yes ? -scores[i] : scores[i])) / static_cast<double>(rows.size());
    return loss;
  };
  ClassifierTrainConfig config = few_steps();
  config.epochs = 1;
  config.batch_rows = 6;
  config.learning_rate = 1e-3;
  config.optimizer.weight_decay = 0;
  const RewardModel before = blank_classifier(), after = blank_classifier();
  const keel::test::TemporaryFolder folder;
  train_classifier(after, rows, config, 1, folder.path(), "toy");
  for (int64_t i = 0; i < 8; ++i) {
    const double slope = (loss_with(i, 1e-2) - loss_with(i, -1e-2)) / 2e-2;
    const double step = (after.score[0][i] - before.score[0][i]).item<double>();
    INFO("weight " << i << " slope " << slope << " step " << step);
    if (std::abs(slope) > 1e-3) CHECK(step * slope < 0);
  }
}

TEST_CASE("classifier: learns a rule and finds it in rows that it has not seen", "[reward]") {
  const keel::test::TemporaryFolder folder;
  const RewardModel model = blank_classifier();
  ClassifierTrainConfig config = few_steps();
  config.epochs = 30;
  config.batch_rows = 16;
  config.learning_rate = .02;
  train_classifier(model, toy_rows(96), config, 1, folder.path(), "toy");
  std::vector<keel::core::Ids> ids;
  const auto unseen = toy_rows(40, 96);
  for (const auto& row : unseen)
    ids.push_back(row.ids);
  const auto scores = score_rows(model, ids);
  int64_t right = 0;
  for (size_t i = 0; i < unseen.size(); ++i)
    right += unseen[i].yes == (scores[i] > 0) ? 1 : 0;
  CHECK(right >= 36);
}

TEST_CASE("classifier: micro-batches change nothing, frozen layers stay", "[reward]") {
  const auto trained = [](const std::vector<std::string>& settings) {
    const keel::test::TemporaryFolder folder;
    const RewardModel model = blank_classifier();
    train_classifier(model, toy_rows(6), keel::test::with_settings(few_steps(), settings), 1, folder.path(), "toy");
    return parameters(model);
  };
  const auto whole = trained({}), parts = trained({"micro_rows=1"}), by_tokens = trained({"micro_tokens=1"});
  for (size_t i = 0; i < whole.size(); ++i)
    CHECK_CLOSE(parts[i].tensor, whole[i].tensor, 1e-5);
  CHECK(keel::runtime::digest(parts) == keel::runtime::digest(by_tokens));
  const auto frozen = trained({"frozen_layers=1"});
  const auto start = parameters(blank_classifier());
  for (size_t i = 0; i < start.size(); ++i) {
    const bool stays = start[i].name.starts_with("model.embed_tokens.") || start[i].name.starts_with("model.layers.0.");
    INFO(start[i].name);
    CHECK(at::equal(frozen[i].tensor, start[i].tensor) == stays);
  }
}

TEST_CASE("classifier: every setting changes the result", "[reward]") {
  const std::vector<std::string> changes = {"epochs=2",         "batch_rows=2",       "learning_rate=0.02", "final_ratio=0.5",
                                            "warmup_share=0.4", "warmup_min_steps=0", "frozen_layers=1"};
  keel::test::check_each_changes(
      [](const std::vector<std::string>& settings) {
        const keel::test::TemporaryFolder folder;
        const RewardModel model = blank_classifier();
        ClassifierTrainConfig config = few_steps();
        config.warmup_min_steps = 2;
        train_classifier(model, toy_rows(15), keel::test::with_settings(config, settings), 1, folder.path(), "toy");
        return keel::runtime::digest(parameters(model));
      },
      changes);
}

TEST_CASE("classifier: stopped and started again it ends bit for bit as if never stopped", "[reward]") {
  const keel::test::TemporaryFolder folder;
  const RewardModel straight = blank_classifier();
  train_classifier(straight, toy_rows(8), few_steps(), 5, folder / "straight", "toy");
  const int stops = 3;
  for (int stop = 0; stop <= stops; ++stop) {
    const RewardModel again = blank_classifier();
    if (stop < stops) {
      keel::core::request_interrupt();
      CHECK_THROWS_AS(train_classifier(again, toy_rows(8), few_steps(), 5, folder / "stopped", "toy"), keel::core::Interrupted);
      keel::core::clear_interrupt();
    } else {
      train_classifier(again, toy_rows(8), few_steps(), 5, folder / "stopped", "toy");
      CHECK(keel::runtime::digest(parameters(again)) == keel::runtime::digest(parameters(straight)));
    }
  }
  CHECK(keel::test::read_text(folder / "stopped/metrics.jsonl") == keel::test::read_text(folder / "straight/metrics.jsonl"));
}

TEST_CASE("classifier: refuses no rows and more frozen layers than there are", "[reward]") {
  const keel::test::TemporaryFolder folder;
  CHECK_THROWS_AS(train_classifier(blank_classifier(), {}, few_steps(), 1, folder.path(), "toy"), c10::Error);
  ClassifierTrainConfig config = few_steps();
  config.frozen_layers = 3;
  CHECK_THROWS_AS(train_classifier(blank_classifier(), toy_rows(2), config, 1, folder.path(), "toy"), keel::core::ConfigError);
}
