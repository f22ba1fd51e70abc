// Token sequences as tensors. Legend: B rows, T tokens a row, N sequences.
//
// Two layouts: padded (one sequence a row, left-aligned) and packed (several sequences a row, told apart by segment ids, so that no
// attention passes between them and each starts at position 0).
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "core/types.h"

namespace keel::runtime {

// A padded row of two sequences that begin alike: tokens before `shared` belong to both, those from `second` on do not see shared..second.
struct Fork {
  int64_t shared, second;
};

struct TokenBatch {
  at::Tensor ids;                // [B, T] int64; 0 where there is no token
  at::Tensor positions;          // [B, T] int64, counted from 0 in each segment
  at::Tensor segments;           // [B, T] int64, -1 where there is no token; undefined for padded rows, which need only the causal mask
  at::Tensor lengths;            // [B] int64, tokens of each row (padded layout)
  at::Tensor keep = {};          // [B, 1, T, T] bool, true = may attend; replaces segments and the causal mask
  std::vector<Fork> forks = {};  // of each row, or none at all; `keep`, where it is defined, says the same
};

// The batch on `device`: the same tensors where they are there already. Batches are filled on the host.
TokenBatch moved(const TokenBatch& batch, c10::Device device);

// One sequence a row, padded on the right to the longest. No row may be empty.
TokenBatch pad_right(const std::vector<core::Ids>& rows);

// Groups of neighbouring rows that are computed together: [begin, end) of each. A group holds at most `most_rows` rows and, padded to its
// longest, at most `most_tokens` tokens; a longer row is a group of its own.
struct RowRange {
  size_t begin = 0, end = 0;
  bool operator==(const RowRange&) const = default;
};
std::vector<RowRange> cut_by_tokens(const std::vector<int64_t>& lengths, int64_t most_rows, int64_t most_tokens);

// Batches of row indices, sorted by length to save padding, of at most `batch_tokens` padded tokens (a longer row is a batch of its own).
std::vector<std::vector<size_t>> batches_by_length(const std::vector<core::Ids>& rows, int64_t batch_tokens);

// Targets of next-token prediction: position t predicts the id at t + 1 of the same segment.
struct TargetBatch {
  TokenBatch tokens;
  at::Tensor targets;    // [B, T] int64; 0 where loss_mask is false
  at::Tensor loss_mask;  // [B, T] bool, true = the target counts (its own mask is true and it lies in the same segment)
};

// `rows[b]` lists the sequences of row b, laid one after another; T is the longest row.
TargetBatch pack(const std::vector<std::vector<const core::TokenSequence*>>& rows);

// Splits sequences, in order, into rows of at most `row_tokens` tokens (next fit). `lengths[i]` in 1..row_tokens.
// Returns indices into `lengths`.
std::vector<std::vector<int64_t>> plan_rows(const std::vector<int64_t>& lengths, int64_t row_tokens);

}  // namespace keel::runtime
