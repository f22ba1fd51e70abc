#include "reward/pair_scores.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "core/interrupt.h"
#include "policy/logprobs.h"
#include "policy/packed_model.h"
#include "policy/trunk_states.h"
#include "runtime/parallel.h"

namespace keel::reward {
namespace {

core::Ids joined_ids(const core::TokenPair& pair) {
  core::Ids ids = pair.chosen;
  ids.insert(ids.end(), pair.rejected.begin() + shared_tokens(pair), pair.rejected.end());
  return ids;
}

// Whether N rows of prompt, chosen and rejected answer cost less than 2 N rows of a prompt and an answer: they have fewer tokens, but
// attend over both answers at once and through a mask. Multiply-adds a layer, on padded rows; causal attention computes half of them.
bool sharing_pays(const policy::LlamaConfig& config, std::span<const core::TokenPair> pairs) {
  constexpr double kLargestMask = 1 << 26;  // positions by positions over all rows
  double longest = 0, widest = 0;
  for (const core::TokenPair& pair : pairs) {
    longest = std::max(longest, static_cast<double>(std::max(pair.chosen.size(), pair.rejected.size())));
    widest = std::max(widest, static_cast<double>(pair_tokens(pair)));
  }
  const auto queries = static_cast<double>(config.num_attention_heads * config.head_size());
  const auto keys = static_cast<double>(config.num_key_value_heads * config.head_size());
  const auto a_token =
      static_cast<double>(config.hidden_size) * (2 * queries + 2 * keys + 3 * static_cast<double>(config.intermediate_size));
  const double a_position = 2 * queries;
  return widest * a_token + widest * widest * a_position < 2 * longest * a_token + longest * longest * a_position &&
         static_cast<double>(pairs.size()) * widest * widest <= kLargestMask;
}

struct PairBatch {
  runtime::TokenBatch tokens;  // one row a pair
  at::Tensor last;             // [2 N] int64: index, among B T positions, of the last token of each chosen, then each rejected side
};

PairBatch one_row_a_pair(std::span<const core::TokenPair> pairs, bool with_mask) {
  std::vector<core::Ids> rows;
  for (const core::TokenPair& pair : pairs)
    rows.push_back(joined_ids(pair));
  PairBatch batch{.tokens = runtime::pad_right(rows), .last = at::zeros({2 * std::ssize(pairs)}, at::kLong)};
  const int64_t count = batch.tokens.ids.size(0), width = batch.tokens.ids.size(1);
  batch.tokens.positions = at::zeros({count, width}, at::kLong);
  int64_t* last = batch.last.mutable_data_ptr<int64_t>();
  for (int64_t b = 0; b < count; ++b) {
    const core::TokenPair& pair = pairs[static_cast<size_t>(b)];
    const int64_t shared = shared_tokens(pair), chosen = std::ssize(pair.chosen), all = std::ssize(rows[static_cast<size_t>(b)]);
    batch.tokens.forks.push_back({.shared = shared, .second = chosen});
    int64_t* position = batch.tokens.positions.mutable_data_ptr<int64_t>() + b * width;
    for (int64_t t = 0; t < all; ++t)
      position[t] = t < chosen ? t : shared + t - chosen;
    last[b] = b * width + chosen - 1;
    last[count + b] = b * width + all - 1;
  }
  if (!with_mask) return batch;
  const at::Tensor order = at::arange(width, at::kLong);
  batch.tokens.keep = (order.unsqueeze(0) <= order.unsqueeze(1)).expand({count, 1, width, width}).clone();
  for (int64_t b = 0; b < count; ++b) {
    const auto [shared, second] = batch.tokens.forks[static_cast<size_t>(b)];
    batch.tokens.keep[b][0].narrow(0, second, width - second).narrow(1, shared, second - shared).fill_(false);
  }
  return batch;
}

}  // namespace

int64_t shared_tokens(const core::TokenPair& pair) {
  const auto shorter = static_cast<std::ptrdiff_t>(std::min(pair.chosen.size(), pair.rejected.size()));
  const auto limit = std::max<std::ptrdiff_t>(shorter - 1, 0);
  return std::mismatch(pair.chosen.begin(), pair.chosen.begin() + limit, pair.rejected.begin()).first - pair.chosen.begin();
}

int64_t pair_tokens(const core::TokenPair& pair) {
  return std::ssize(pair.chosen) + std::ssize(pair.rejected) - shared_tokens(pair);
}

at::Tensor pair_scores(const RewardModel& model, std::span<const core::TokenPair> pairs) {
  const bool by_engine = policy::engine_takes(model.backbone);  // which needs no mask
  if (!by_engine && !sharing_pays(model.backbone.config, pairs)) {
    std::vector<core::Ids> rows;
    for (const core::TokenPair& pair : pairs)
      rows.push_back(pair.chosen);
    for (const core::TokenPair& pair : pairs)
      rows.push_back(pair.rejected);
    return last_token_scores(model, runtime::pad_right(rows)).view({2, -1});
  }
  const PairBatch batch = one_row_a_pair(pairs, !by_engine);
  const at::Tensor hidden = policy::hidden_states(model.backbone, batch.tokens);
  return at::linear(hidden.flatten(0, 1).index_select(0, batch.last), model.score).to(at::kFloat).view({2, -1});
}

PairScores score_pairs(const RewardModel& model, const std::vector<core::TokenPair>& pairs, int64_t batch_tokens) {
  const at::NoGradGuard no_grad;
  check_pairs(model, pairs);
  PairScores scores{.chosen = std::vector<double>(pairs.size()), .rejected = std::vector<double>(pairs.size())};
  std::vector<core::Ids> rows;
  if (policy::engine_takes(model.backbone)) {  // which computes what two rows share once
    for (const core::TokenPair& pair : pairs) {
      rows.push_back(pair.chosen);
      rows.push_back(pair.rejected);
    }
    const std::vector<double> found = score_rows(model, rows);
    for (size_t i = 0; i < pairs.size(); ++i) {
      scores.chosen[i] = found[2 * i];
      scores.rejected[i] = found[2 * i + 1];
    }
    return scores;
  }
  for (const core::TokenPair& pair : pairs)
    rows.push_back(joined_ids(pair));
  const auto batches = runtime::batches_by_length(rows, batch_tokens);
  runtime::for_each_piece(std::ssize(batches), [&](int64_t piece) {
    const auto& batch = batches[static_cast<size_t>(piece)];
    core::stop_if_interrupted("scoring");
    std::vector<core::TokenPair> group;
    for (const size_t i : batch)
      group.push_back(pairs[i]);
    const at::Tensor values = pair_scores(model, group).contiguous();
    for (size_t i = 0; i < batch.size(); ++i) {
      scores.chosen[batch[i]] = values.const_data_ptr<float>()[i];
      scores.rejected[batch[i]] = values.const_data_ptr<float>()[batch.size() + i];
    }
  });
  return scores;
}

void check_pairs(const RewardModel& model, const std::vector<core::TokenPair>& pairs) {
  std::vector<core::Ids> rows;
  for (const core::TokenPair& pair : pairs) {
    TORCH_CHECK(!pair.chosen.empty() && !pair.rejected.empty(), "[reward.pairs] a side of a pair holds no tokens");
    rows.push_back(pair.chosen);
    rows.push_back(pair.rejected);
  }
  policy::check_ids(model.backbone, rows);
}

}  // namespace keel::reward
