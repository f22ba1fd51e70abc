// Metrics of an iteration's answers and rewards.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "core/metrics.h"
#include "ppo/rollout.h"
#include "ppo/whiten.h"
#include "reward/function.h"

namespace keel::ppo {

// Means over answers; `prefix` ("objective/") begins their names. scores: Rc of all answers; scores_safety, scores_helpful: of those to
// safety prompts and to others. gate_share: share of answers to other prompts that the gate gave to the safety model; safety_share: share
// of all answers that it decided. helpfulness, safety: each model's own probability, if the model exists. A mean over nothing is NaN.
core::MetricRow reward_metrics(const std::string& prefix, const std::vector<reward::AnswerReward>& rewards);

// Mean Rc of the answers to the prompts of each source, under `prefix` and its name; sources[Sample::prompt], none or "" for no source. A
// source without answers has no entry.
core::MetricRow source_metrics(const std::string& prefix, const std::vector<core::Sample>& samples,
                               const std::vector<reward::AnswerReward>& rewards, const std::vector<std::string>& sources);

double mean_probability(const std::vector<reward::AnswerReward>& rewards);  // mean Rc; NaN for none

struct AnswerLengths {
  double mean = 0, min = 0, max = 0;  // tokens
  double finished = 0;                // answers that ended by themselves
  double truncated_rate = 0;          // share of those cut at the length limit
};
AnswerLengths answer_lengths(const Rollout& rollout);
core::MetricRow row_of(const AnswerLengths& lengths);  // response_length/{mean,min,max}, rollout/truncated_rate, val/num_eos_tokens

// Mean and standard deviation of logit(Rc), which whitening removes: whiten/mean and whiten/std, or with a scope by model
// whiten/{mean,std}_helpfulness and _safety. [B] probabilities, [B] bool.
core::MetricRow whitening_metrics(const at::Tensor& probability, const at::Tensor& safety_decides, const ScoreConfig& config);

// Share of the returns' variance that the values explain; all [B, A].
double explained_variance(const at::Tensor& values, const at::Tensor& returns, const at::Tensor& mask);

void append(core::MetricRow& row, core::MetricRow more);

}  // namespace keel::ppo
