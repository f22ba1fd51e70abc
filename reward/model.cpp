#include "reward/model.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/zeros.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "core/interrupt.h"
#include "core/rng.h"
#include "policy/logprobs.h"
#include "policy/lora.h"
#include "policy/model_directory.h"
#include "policy/packed_model.h"
#include "policy/row_reader.h"
#include "runtime/dist/ranks.h"
#include "runtime/parallel.h"

namespace keel::reward {

at::Tensor make_head(const policy::Llama& model, HeadStart head, uint64_t seed) {
  const int64_t width = model.config.hidden_size;
  at::Tensor made = at::zeros({1, width}, at::kFloat);
  if (head == HeadStart::zeros) return made.to(model.embedding.device());
  core::Stream stream(seed, "reward.head");
  float* weight = made.mutable_data_ptr<float>();
  for (int64_t i = 0; i < width; ++i)
    weight[i] = static_cast<float>(stream.normal() / static_cast<double>(width + 1));
  return made.to(model.embedding.device());
}

RewardModel make_reward_model(const policy::Llama& model, HeadStart head, uint64_t seed) {
  return {policy::frozen_copy(policy::merged(policy::backbone_of(model))), make_head(model, head, seed)};
}

RewardModel moved(const RewardModel& model, c10::Device device) {
  return {policy::moved(model.backbone, device), model.score.to(device)};
}

RewardModel frozen_copy(const RewardModel& model) {
  return {policy::frozen_copy(model.backbone), model.score.detach().clone()};
}

runtime::Parameters parameters(const RewardModel& model) {
  runtime::Parameters all = policy::parameters(model.backbone);
  all.push_back({"score.weight", model.score});
  return all;
}

at::Tensor token_values(const RewardModel& model, const runtime::TokenBatch& batch) {
  return at::linear(policy::hidden_states(model.backbone, batch), model.score).squeeze(-1).to(at::kFloat).cpu();
}

at::Tensor last_token_scores(const RewardModel& model, const runtime::TokenBatch& batch) {
  const at::Tensor hidden = policy::hidden_states(model.backbone, batch);
  const int64_t rows = hidden.size(0), width = hidden.size(1);
  const at::Tensor last = at::arange(rows, batch.lengths.options()) * width + batch.lengths - 1;
  return at::linear(hidden.reshape({rows * width, -1}).index_select(0, last.to(hidden.device())), model.score)
      .squeeze(-1)
      .to(at::kFloat)
      .cpu();
}

namespace {

std::vector<double> plain_scores(const RewardModel& model, const std::vector<core::Ids>& rows, int64_t batch_tokens) {
  const at::NoGradGuard no_grad;
  const runtime::OneWorkerOn one(model.score.device());
  policy::check_ids(model.backbone, rows);
  std::vector<double> scores(rows.size());
  const auto batches = runtime::batches_by_length(rows, batch_tokens);
  runtime::for_each_piece(std::ssize(batches), [&](int64_t piece) {
    core::stop_if_interrupted("scoring");
    const auto& batch = batches[static_cast<size_t>(piece)];
    std::vector<core::Ids> group;
    for (const size_t row : batch)
      group.push_back(rows[row]);
    const at::Tensor values = last_token_scores(model, runtime::pad_right(group)).contiguous();
    for (size_t i = 0; i < batch.size(); ++i)
      scores[batch[i]] = values.const_data_ptr<float>()[i];
  });
  return scores;
}

}  // namespace

std::vector<double> score_rows(const RewardModel& model, const std::vector<core::Ids>& rows, int64_t batch_tokens) {
  if (policy::engine_takes(model.backbone)) return scorer_of(model)(rows);
  return runtime::dist::by_parts<double>(rows, [&](const std::vector<core::Ids>& part) { return plain_scores(model, part, batch_tokens); });
}

ScoreRows scorer_of(const RewardModel& model) {
  if (!policy::engine_takes(model.backbone)) return [model](const std::vector<core::Ids>& rows) { return score_rows(model, rows); };
  return [model, reader = std::make_shared<const policy::RowReader>(model.backbone, model.score)](const std::vector<core::Ids>& rows) {
    policy::check_ids(model.backbone, rows);
    for (const core::Ids& row : rows)
      TORCH_CHECK(!row.empty(), "[reward.score_rows] a row holds no tokens");
    return runtime::dist::by_parts<double>(rows, [&](const std::vector<core::Ids>& part) {
      std::vector<int64_t> last;
      for (const core::Ids& row : part)
        last.push_back(std::ssize(row) - 1);
      std::vector<double> scores(part.size());
      reader->read(part, last, "scoring", [&](engine::Forward& forward, std::span<const engine::Place> places) {
        const float* found = forward.logits(0, std::ssize(places));
        for (size_t i = 0; i < places.size(); ++i)
          scores[places[i].row] = found[i];
      });
      return scores;
    });
  };
}

void save_reward_model(const RewardModel& model, const std::filesystem::path& folder, int64_t pad_token_id) {
  const int64_t vocabulary = model.backbone.config.vocab_size;
  TORCH_CHECK(pad_token_id >= 0 && pad_token_id < vocabulary, "[reward.save] pad_token_id must be an id of the vocabulary 0..",
              vocabulary - 1, " that no text uses, got ", pad_token_id);
  policy::save_weights(folder, model.backbone.config, parameters(model),
                       {{"architectures", {"LlamaForSequenceClassification"}},
                        {"num_labels", 1},
                        {"id2label", {{"0", "score"}}},
                        {"label2id", {{"score", 0}}},
                        {"problem_type", "regression"},
                        {"pad_token_id", pad_token_id}});
}

RewardModel load_reward_model(const std::filesystem::path& folder, policy::Precision precision) {
  policy::Classifier loaded = policy::load_classifier(folder, precision);
  return {std::move(loaded.backbone), std::move(loaded.score)};
}

}  // namespace keel::reward
