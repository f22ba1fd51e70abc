// The reward model (Llama 2 paper, 3.2.2): the chat model with its next-token head replaced by one linear unit, read at the last token.
//
// Legend: B rows, T tokens, D hidden size. Scores are raw (logits); sigmoid(score) is the paper's score in (0, 1).
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "core/config.h"
#include "core/types.h"
#include "policy/dtype.h"
#include "policy/llama.h"

namespace keel::reward {

struct RewardModel {
  policy::Llama backbone;  // without language-model head
  at::Tensor score;        // [1, D], no bias
};

// First weights of the scalar head: N(0, s) with standard deviation s = 1 / (D + 1) from the random stream (seed, "reward.head"), so that
// scores start near 0, or zeros.
enum class HeadStart { normal, zeros };
constexpr auto names(HeadStart) {
  return std::to_array<core::Named<HeadStart>>({{HeadStart::normal, "normal"}, {HeadStart::zeros, "zeros"}});
}

at::Tensor make_head(const policy::Llama& model, HeadStart head, uint64_t seed);  // [1, D] fp32, where the model lies

// A reward model (or critic) on a copy of a language model's weights, its adapters merged into them.
RewardModel make_reward_model(const policy::Llama& model, HeadStart head, uint64_t seed);

RewardModel moved(const RewardModel& model, c10::Device device);  // shares storage where it is there already

RewardModel frozen_copy(const RewardModel& model);  // shares no storage, needs no gradients

// Every weight once under its Hugging Face name, "score.weight" last; shares storage.
runtime::Parameters parameters(const RewardModel& model);

// w . h_t at every position, [B, T] fp32 on the host: the values of a critic. Values after a row's last token are meaningless.
at::Tensor token_values(const RewardModel& model, const runtime::TokenBatch& batch);

// w . h at the last token of each row of a right-padded batch, [B] fp32 on the host, with gradients if the weights have them.
at::Tensor last_token_scores(const RewardModel& model, const runtime::TokenBatch& batch);

// Scores of rows of ids, in their order, without gradients. Of a model that engine_takes() (policy/packed_model.h) the score depends on
// nothing but the row, to the bit; else forward passes hold at most `batch_tokens` padded tokens (or one row), and batch mates change
// nothing beyond rounding. Throws core::Interrupted on SIGTERM, c10::Error for an empty row, a row longer than the context and ids outside
// the vocabulary.
std::vector<double> score_rows(const RewardModel& model, const std::vector<core::Ids>& rows, int64_t batch_tokens = 4096);

// Scores of rows of ids, wherever the model lies: raw, in order.
using ScoreRows = std::function<std::vector<double>(const std::vector<core::Ids>& rows)>;

// score_rows() for rows that come bit by bit: prepares the model once. Shares its weights, which may not change.
ScoreRows scorer_of(const RewardModel& model);

// A folder that transformers loads as LlamaForSequenceClassification. It scores the last token that is not `pad_token_id`: that must be an
// id of the vocabulary that no text uses (a tokenizer's pad or unknown id). Throws c10::Error for an id outside the vocabulary.
void save_reward_model(const RewardModel& model, const std::filesystem::path& folder, int64_t pad_token_id);

// Strict: a missing score.weight is an error, never a random head.
RewardModel load_reward_model(const std::filesystem::path& folder, policy::Precision precision = policy::Precision::fp32);

}  // namespace keel::reward
