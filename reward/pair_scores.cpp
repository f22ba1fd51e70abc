#include "reward/pair_scores.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "policy/logprobs.h"
#include "policy/packed_model.h"

namespace keel::reward {
namespace {

core::Ids joined_ids(const core::TokenPair& pair) {
  core::Ids ids = pair.chosen;
  ids.insert(ids.end(), pair.rejected.begin() + shared_tokens(pair), pair.rejected.end());
  return ids;
}

struct PairBatch {
  runtime::TokenBatch tokens;  // one row a pair
  at::Tensor last;             // [2 N] int64: index, among B T positions, of the last token of each chosen, then each rejected side
};

PairBatch one_row_a_pair(std::span<const core::TokenPair> pairs) {
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
  if (!policy::engine_takes(model.backbone)) {
    std::vector<core::Ids> rows;
    for (const core::TokenPair& pair : pairs)
      rows.push_back(pair.chosen);
    for (const core::TokenPair& pair : pairs)
      rows.push_back(pair.rejected);
    return last_token_scores(model, runtime::pad_right(rows)).view({2, -1});
  }
  const PairBatch batch = one_row_a_pair(pairs);
  const at::Tensor hidden = policy::hidden_states(model.backbone, batch.tokens);
  return at::linear(hidden.flatten(0, 1).index_select(0, batch.last), model.score).to(at::kFloat).view({2, -1});
}

PairScores score_pairs(const RewardModel& model, const std::vector<core::TokenPair>& pairs) {
  check_pairs(model, pairs);
  std::vector<core::Ids> rows;
  for (const core::TokenPair& pair : pairs) {
    rows.push_back(pair.chosen);
    rows.push_back(pair.rejected);
  }
  const std::vector<double> found = score_rows(model, rows);  // which computes what two rows share once
  PairScores scores;
  for (size_t i = 0; i < pairs.size(); ++i) {
    scores.chosen.push_back(found[2 * i]);
    scores.rejected.push_back(found[2 * i + 1]);
  }
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
