// Answers of one PPO iteration as tensors, and the policy's and critic's forward passes over some of them.
//
// Legend: B answers of an iteration, A tokens of its longest answer, b rows of one forward pass. Column t of a [B, A] tensor belongs to
// the t-th id that the policy emitted; V(s_t) and log pi(t) are both read from the position before it.
#pragma once

#include <vector>

#include "core/types.h"
#include "policy/llama.h"
#include "reward/model.h"
#include "runtime/batch.h"

namespace keel::ppo {

struct Rollout {
  std::vector<core::Ids> rows;          // B rows: prompt + answer, the ids as they were generated
  std::vector<int64_t> prompt_lengths;  // B
  at::Tensor response_mask;             // [B, A] bool, true = a token that the policy emitted
  at::Tensor last_action_index;         // [B] int64, column of the last of them
  at::Tensor finished;                  // [B] bool, true = the answer ended by itself
  at::Tensor engine_logprobs;           // [B, A] fp32, as the generator recorded them; 0 where response_mask is false
  int64_t answers() const { return std::ssize(rows); }
};

// `samples[i]` answers `prompts[samples[i].prompt]`. Throws c10::Error for an empty answer.
Rollout make_rollout(const std::vector<core::Ids>& prompts, const std::vector<core::Sample>& samples);

// Some rows of a rollout, padded for one forward pass.
struct AnswerBatch {
  at::Tensor index;             // [b] int64, rows of the rollout
  runtime::TargetBatch inputs;  // loss_mask marks the position before each emitted token
  at::Tensor mask;              // [b, A] bool, response_mask of these rows
};
AnswerBatch answer_batch(const Rollout& rollout, const std::vector<int64_t>& rows);

// Groups of neighbouring `rows` for one forward pass: at most `most_answers` rows and `most_tokens` tokens with padding, or one row.
std::vector<std::vector<int64_t>> micro_batches(const Rollout& rollout, const std::vector<int64_t>& rows, int64_t most_answers,
                                                int64_t most_tokens);

// Final hidden states before each emitted token, [n, D] in row-major order of the n true places of batch.mask; `trunk` may lack its head.
at::Tensor answer_states(const policy::Llama& trunk, const AnswerBatch& batch);

struct AnswerLogprobs {
  at::Tensor logprobs;  // [b, A] fp32, 0 where the mask is false; with gradients if the weights have them
  at::Tensor entropy;   // [b, A] fp32 nats, detached; undefined unless asked for
};

// log softmax(logits / temperature) of the emitted ids, from the policy's answer_states().
AnswerLogprobs answer_logprobs(const policy::Llama& policy, const at::Tensor& states, const AnswerBatch& batch, double temperature,
                               bool with_entropy = false);
AnswerLogprobs answer_logprobs(const policy::Llama& policy, const AnswerBatch& batch, double temperature, bool with_entropy = false);

// V(s_t) = score . state, [b, A] fp32, 0 where the mask is false, from the answer_states() of the critic's trunk; score [1, D].
at::Tensor answer_values(const at::Tensor& score, const at::Tensor& states, const AnswerBatch& batch);
at::Tensor answer_values(const reward::RewardModel& critic, const AnswerBatch& batch);

}  // namespace keel::ppo
