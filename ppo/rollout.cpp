#include "ppo/rollout.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/nonzero.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "policy/logprobs.h"

namespace keel::ppo {

namespace {

// [n] values of the true places of mask, in row-major order -> [b, A].
at::Tensor at_true_places(const at::Tensor& values, const at::Tensor& mask) {
  return at::zeros(mask.sizes(), values.options().requires_grad(false)).masked_scatter(mask, values);
}

}  // namespace

Rollout make_rollout(const std::vector<core::Ids>& prompts, const std::vector<core::Sample>& samples) {
  const auto count = std::ssize(samples);
  int64_t longest = 0;
  for (const core::Sample& sample : samples) {
    TORCH_CHECK(!sample.ids.empty() && sample.ids.size() == sample.logprobs.size(),
                "[ppo.rollout] every answer needs an id and one log-prob an id, got ", sample.ids.size(), " ids and ",
                sample.logprobs.size(), " log-probs for prompt ", sample.prompt);
    longest = std::max(longest, std::ssize(sample.ids));
  }
  Rollout rollout{.rows = {},
                  .prompt_lengths = {},
                  .response_mask = at::zeros({count, longest}, at::kBool),
                  .last_action_index = at::zeros({count}, at::kLong),
                  .finished = at::zeros({count}, at::kBool),
                  .engine_logprobs = at::zeros({count, longest}, at::kFloat)};
  for (int64_t b = 0; b < count; ++b) {
    const core::Sample& sample = samples[static_cast<size_t>(b)];
    const core::Ids& prompt = prompts.at(static_cast<size_t>(sample.prompt));
    rollout.prompt_lengths.push_back(std::ssize(prompt));
    rollout.rows.push_back(core::joined(prompt, sample.ids));
    const auto length = std::ssize(sample.ids);
    rollout.response_mask.select(0, b).slice(0, 0, length).fill_(true);
    rollout.last_action_index[b] = length - 1;
    rollout.finished[b] = sample.finish == core::FinishReason::stop;
    std::copy(sample.logprobs.begin(), sample.logprobs.end(), rollout.engine_logprobs.mutable_data_ptr<float>() + b * longest);
  }
  return rollout;
}

AnswerBatch answer_batch(const Rollout& rollout, const std::vector<int64_t>& rows) {
  std::vector<core::Ids> ids;
  for (const int64_t row : rows)
    ids.push_back(rollout.rows[static_cast<size_t>(row)]);
  AnswerBatch batch{
      .index = at::tensor(rows, at::kLong), .inputs = {.tokens = runtime::pad_right(ids), .targets = {}, .loss_mask = {}}, .mask = {}};
  const at::Tensor& tokens = batch.inputs.tokens.ids;
  batch.inputs.targets = at::zeros_like(tokens);
  batch.inputs.targets.slice(1, 0, tokens.size(1) - 1).copy_(tokens.slice(1, 1));
  batch.inputs.loss_mask = at::zeros(tokens.sizes(), at::kBool);
  for (size_t b = 0; b < rows.size(); ++b) {
    const int64_t prompt = rollout.prompt_lengths[static_cast<size_t>(rows[b])];
    batch.inputs.loss_mask.select(0, static_cast<int64_t>(b)).slice(0, prompt - 1, std::ssize(ids[b]) - 1).fill_(true);
  }
  batch.mask = rollout.response_mask.index_select(0, batch.index);
  return batch;
}

std::vector<std::vector<int64_t>> micro_batches(const Rollout& rollout, const std::vector<int64_t>& rows, int64_t most_answers,
                                                int64_t most_tokens) {
  std::vector<int64_t> lengths;
  for (const int64_t row : rows)
    lengths.push_back(std::ssize(rollout.rows[static_cast<size_t>(row)]));
  std::vector<std::vector<int64_t>> batches;
  for (const auto& [begin, end] : runtime::cut_by_tokens(lengths, most_answers, most_tokens))
    batches.emplace_back(rows.begin() + static_cast<std::ptrdiff_t>(begin), rows.begin() + static_cast<std::ptrdiff_t>(end));
  return batches;
}

at::Tensor answer_states(const policy::Llama& trunk, const AnswerBatch& batch) {
  const at::Tensor hidden = policy::hidden_states(trunk, batch.inputs.tokens);
  const at::Tensor places = at::nonzero(batch.inputs.loss_mask.reshape({-1})).squeeze(-1);
  return hidden.reshape({-1, hidden.size(-1)}).index_select(0, places.to(hidden.device()));
}

AnswerLogprobs answer_logprobs(const policy::Llama& policy, const at::Tensor& states, const AnswerBatch& batch, double temperature,
                               bool with_entropy) {
  const at::Tensor targets = batch.inputs.targets.masked_select(batch.inputs.loss_mask);
  if (!with_entropy)
    return {.logprobs = at_true_places(policy::state_logprobs(policy, states, targets, temperature), batch.mask), .entropy = {}};
  const auto [logprobs, entropies] = policy::state_logprobs_and_entropies(policy, states, targets, temperature);
  return {.logprobs = at_true_places(logprobs, batch.mask), .entropy = at_true_places(entropies, batch.mask)};
}

AnswerLogprobs answer_logprobs(const policy::Llama& policy, const AnswerBatch& batch, double temperature, bool with_entropy) {
  return answer_logprobs(policy, answer_states(policy, batch), batch, temperature, with_entropy);
}

at::Tensor answer_values(const at::Tensor& score, const at::Tensor& states, const AnswerBatch& batch) {
  return at_true_places(at::linear(states, score).squeeze(-1).to(at::kFloat).cpu(), batch.mask);
}

at::Tensor answer_values(const reward::RewardModel& critic, const AnswerBatch& batch) {
  return answer_values(critic.score, answer_states(critic.backbone, batch), batch);
}

}  // namespace keel::ppo
