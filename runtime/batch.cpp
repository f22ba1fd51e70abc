#include "runtime/batch.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <numeric>

namespace keel::runtime {

TokenBatch moved(const TokenBatch& batch, c10::Device device) {
  TokenBatch there = batch;
  for (at::Tensor* tensor : {&there.ids, &there.positions, &there.segments, &there.lengths, &there.keep})
    if (tensor->defined()) *tensor = tensor->to(device, /*non_blocking=*/true);
  return there;
}

TokenBatch pad_right(const std::vector<core::Ids>& rows) {
  size_t longest = 0;
  for (const auto& row : rows) {
    TORCH_CHECK(!row.empty(), "[runtime.pad_right] a row holds no tokens; drop empty sequences where the data is read");
    longest = std::max(longest, row.size());
  }
  const auto count = static_cast<int64_t>(rows.size()), width = static_cast<int64_t>(longest);
  TokenBatch batch{.ids = at::zeros({count, width}, at::kLong),
                   .positions = at::arange(width, at::kLong).expand({count, width}),
                   .segments = {},
                   .lengths = at::zeros({count}, at::kLong)};
  for (int64_t b = 0; b < count; ++b) {
    const auto& row = rows[static_cast<size_t>(b)];
    std::copy(row.begin(), row.end(), batch.ids.mutable_data_ptr<int64_t>() + b * width);
    batch.lengths.mutable_data_ptr<int64_t>()[b] = static_cast<int64_t>(row.size());
  }
  return batch;
}

std::vector<RowRange> cut_by_tokens(const std::vector<int64_t>& lengths, int64_t most_rows, int64_t most_tokens) {
  std::vector<RowRange> groups;
  int64_t longest = 0;
  for (size_t row = 0; row < lengths.size(); ++row) {
    longest = std::max(longest, lengths[row]);
    const int64_t rows = groups.empty() ? 0 : static_cast<int64_t>(row + 1 - groups.back().begin);
    if (groups.empty() || rows > most_rows || rows * longest > most_tokens) {
      groups.push_back({.begin = row, .end = row});
      longest = lengths[row];
    }
    groups.back().end = row + 1;
  }
  return groups;
}

std::vector<std::vector<size_t>> batches_by_length(const std::vector<core::Ids>& rows, int64_t batch_tokens) {
  std::vector<size_t> order(rows.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return rows[a].size() < rows[b].size(); });
  std::vector<int64_t> lengths;
  for (const size_t row : order)
    lengths.push_back(std::ssize(rows[row]));
  std::vector<std::vector<size_t>> batches;
  for (const auto& [begin, end] : cut_by_tokens(lengths, std::ssize(rows), batch_tokens))
    batches.emplace_back(order.begin() + static_cast<std::ptrdiff_t>(begin), order.begin() + static_cast<std::ptrdiff_t>(end));
  return batches;
}

TargetBatch pack(const std::vector<std::vector<const core::TokenSequence*>>& rows) {
  size_t longest = 0;
  for (const auto& row : rows) {
    size_t tokens = 0;
    for (const auto* sequence : row)
      tokens += sequence->ids.size();
    longest = std::max(longest, tokens);
  }
  const auto count = static_cast<int64_t>(rows.size()), width = static_cast<int64_t>(longest);
  TargetBatch batch{.tokens = {.ids = at::zeros({count, width}, at::kLong),
                               .positions = at::zeros({count, width}, at::kLong),
                               .segments = at::full({count, width}, -1, at::kLong),
                               .lengths = {}},
                    .targets = at::zeros({count, width}, at::kLong),
                    .loss_mask = at::zeros({count, width}, at::kBool)};
  for (int64_t b = 0; b < count; ++b) {
    int64_t at = b * width, segment = 0;
    for (const auto* sequence : rows[static_cast<size_t>(b)]) {
      const auto length = static_cast<int64_t>(sequence->ids.size());
      for (int64_t t = 0; t < length; ++t, ++at) {
        const auto index = static_cast<size_t>(t);
        batch.tokens.ids.mutable_data_ptr<int64_t>()[at] = sequence->ids[index];
        batch.tokens.positions.mutable_data_ptr<int64_t>()[at] = t;
        batch.tokens.segments.mutable_data_ptr<int64_t>()[at] = segment;
        if (t + 1 < length && sequence->loss_mask[index + 1]) {
          batch.targets.mutable_data_ptr<int64_t>()[at] = sequence->ids[index + 1];
          batch.loss_mask.mutable_data_ptr<bool>()[at] = true;
        }
      }
      ++segment;
    }
  }
  return batch;
}

std::vector<std::vector<int64_t>> plan_rows(const std::vector<int64_t>& lengths, int64_t row_tokens) {
  std::vector<std::vector<int64_t>> rows;
  int64_t used = row_tokens;
  for (size_t i = 0; i < lengths.size(); ++i) {
    TORCH_CHECK(lengths[i] > 0 && lengths[i] <= row_tokens, "[runtime.plan_rows] sequence ", i, " has ", lengths[i],
                " tokens, a row takes 1..", row_tokens, "; drop or split it where the data is read, or raise the row length");
    if (used + lengths[i] > row_tokens) {
      rows.emplace_back();
      used = 0;
    }
    rows.back().push_back(static_cast<int64_t>(i));
    used += lengths[i];
  }
  return rows;
}

}  // namespace keel::runtime
