#include "ppo/validation.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "core/interrupt.h"
#include "ppo/config.h"
#include "ppo/kl.h"
#include "ppo/losses.h"
#include "ppo/rollout.h"
#include "ppo/statistics.h"
#include "runtime/dist/ranks.h"
#include "runtime/parallel.h"

namespace keel::ppo {

namespace {

// log pi and log ref of every emitted token, [B, A] each.
std::pair<at::Tensor, at::Tensor> both_logprobs(const policy::Llama& policy, const policy::Llama& reference, const Rollout& rollout,
                                                const PpoConfig& config) {
  std::vector<int64_t> all(static_cast<size_t>(rollout.answers()));
  std::iota(all.begin(), all.end(), int64_t{0});
  const auto batches = micro_batches(rollout, all, config.micro_answers, config.micro_tokens);
  const double temperature = config.sampling.temperature;
  const bool recorded = policy::records_exactly(policy);
  const at::Tensor empty = at::zeros_like(rollout.engine_logprobs);
  const runtime::OneWorkerOn one(policy.embedding.device());
  std::pair both(recorded ? rollout.engine_logprobs : empty.clone(), empty);
  core::stop_if_interrupted("evaluating held-out prompts");  // all ranks here: inside, some may have no pieces
  runtime::for_each_own_piece(std::ssize(batches), [&](int64_t piece) {
    const AnswerBatch batch = answer_batch(rollout, batches[static_cast<size_t>(piece)]);
    if (!recorded) both.first.index_copy_(0, batch.index, answer_logprobs(policy, batch, temperature).logprobs);
    both.second.index_copy_(0, batch.index, answer_logprobs(reference, batch, temperature).logprobs);
  });
  runtime::dist::sum({both.second});  // a rank has filled the rows of its pieces
  if (!recorded) runtime::dist::sum({both.first});
  return both;
}

}  // namespace

Evaluation evaluate(const policy::Llama& policy, const policy::Llama& reference, const HeldOut& held_out,
                    const std::vector<int64_t>& stop_ids, const PpoConfig& config, uint64_t seed) {
  const at::NoGradGuard no_grad;
  const auto samples = policy::generate(policy, {.prompts = held_out.prompts,
                                                 .sampling = config.sampling,
                                                 .stop_ids = stop_ids,
                                                 .seed = seed,
                                                 .purpose = "ppo.validation",
                                                 .batch_rows = config.batch_rows});
  const std::vector<reward::AnswerReward> earned = held_out.reward(samples);
  const Rollout rollout = make_rollout(held_out.prompts, samples);
  const auto [logprobs, reference_logprobs] = both_logprobs(policy, reference, rollout, config);
  const auto kl = [&](KlEstimator estimator) {
    const at::Tensor tokens = kl_per_token(logprobs, reference_logprobs, {.estimator = estimator});
    return masked_sum(tokens, rollout.response_mask, rollout.answers()).item<double>();
  };
  const AnswerLengths lengths = answer_lengths(rollout);
  Evaluation result{.probability = mean_probability(earned), .kl = kl(KlEstimator::k3), .metrics = reward_metrics("eval/", earned)};
  append(result.metrics, {{"eval/kl", result.kl},
                          {"eval/kl_k1", kl(KlEstimator::k1)},
                          {"eval/response_length", lengths.mean},
                          {"eval/truncated_rate", lengths.truncated_rate}});
  return result;
}

bool Best::offer(int64_t at_iteration, double mean_probability, double kl, const ValidationConfig& config) {
  const bool near = config.kl_budget == 0 || kl <= config.kl_budget;
  if (near && (iteration < 0 || mean_probability > probability)) {
    *this = {.iteration = at_iteration, .probability = mean_probability, .worse_since = 0};
    return true;
  }
  ++worse_since;
  return false;
}

}  // namespace keel::ppo
