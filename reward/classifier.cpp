#include "reward/classifier.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>

#include <algorithm>

#include "core/error.h"
#include "policy/logprobs.h"
#include "policy/packed_model.h"
#include "reward/ranking_loss.h"
#include "runtime/batch.h"
#include "runtime/parallel.h"

namespace keel::reward {
namespace {

struct Sums {
  double loss = 0, correct = 0, tokens = 0;
  void operator+=(const Sums& other) { loss += other.loss, correct += other.correct, tokens += other.tokens; }
};

// Forward pass of one micro-batch: its share of the loss of a step of `count` answers, 0-dim.
at::Tensor loss_of_rows(const RewardModel& model, std::span<const LabelledRow> rows, int64_t count, Sums& sums) {
  std::vector<core::Ids> ids;
  std::vector<int64_t> labels;
  for (const LabelledRow& row : rows) {
    ids.push_back(row.ids);
    labels.push_back(row.yes ? 1 : 0);
    sums.tokens += static_cast<double>(row.ids.size());
  }
  const at::Tensor yes = at::tensor(labels, at::kLong), scores = last_token_scores(model, runtime::pad_right(ids));
  const at::Tensor loss = safety_loss(scores, yes).sum() / static_cast<double>(count);  // binary cross-entropy
  sums.loss = loss.item<double>();
  sums.correct = ((scores > 0) == (yes == 1)).sum().item<double>();
  return loss;
}

}  // namespace

void train_classifier(const RewardModel& model, const std::vector<LabelledRow>& rows, const ClassifierTrainConfig& config, uint64_t seed,
                      const std::filesystem::path& folder, const std::string& label) {
  core::throw_if_any(problems_with(config, model.backbone.config));
  TORCH_CHECK(!rows.empty(), "[reward.classifier] there are no answers to train on");
  std::vector<core::Ids> all;
  for (const LabelledRow& row : rows)
    all.push_back(row.ids);
  policy::check_ids(model.backbone, all);
  const std::vector<int64_t> order = order_of_epochs(std::ssize(rows), config.epochs, seed, "classifier.order", "answers");

  const runtime::Parameters weights = trained_parameters(model, config.frozen_layers);
  const auto accumulate = [&](int64_t step) -> runtime::Measured {
    const int64_t begin = step * config.batch_rows, end = std::min(begin + config.batch_rows, std::ssize(order));
    std::vector<LabelledRow> batch;
    for (int64_t i = begin; i < end; ++i)
      batch.push_back(rows[static_cast<size_t>(order[static_cast<size_t>(i)])]);
    // Rows of one length together waste little padding; the sum does not depend on their order.
    std::stable_sort(batch.begin(), batch.end(), [](const auto& a, const auto& b) { return a.ids.size() < b.ids.size(); });
    std::vector<int64_t> tokens;
    for (const LabelledRow& row : batch)
      tokens.push_back(std::ssize(row.ids));
    const auto micro = runtime::cut_by_tokens(tokens, config.micro_rows, config.micro_tokens);
    const auto parts = runtime::accumulate_gradients<Sums>(weights, std::ssize(micro), [&](int64_t part, Sums& measured) {
      const auto [first, last] = micro[static_cast<size_t>(part)];
      return loss_of_rows(model, std::span(batch).subspan(first, last - first), end - begin, measured);
    });
    Sums sums;
    for (const Sums& part : parts)
      sums += part;
    return {.loss = sums.loss,
            .metrics = {{"loss", sums.loss}, {"accuracy", sums.correct / static_cast<double>(end - begin)}, {"num_tokens", sums.tokens}}};
  };

  const runtime::OneWorker one(policy::threads_share(model.backbone));
  const int64_t steps = (std::ssize(order) + config.batch_rows - 1) / config.batch_rows;
  train_head(config, weights, steps, accumulate, folder, label);
}

}  // namespace keel::reward
