// Log-probabilities of given ids: the same distribution that generation samples from.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "core/types.h"
#include "policy/llama.h"

namespace keel::policy {

// log p(id_t | ids before t) for t = 1..n-1 of each row, nats, at `temperature`: one value fewer than ids. Without gradients.
// A row of one id, or none, gives an empty list. Of a model that engine_takes() they are those that generate() records, to the bit, and
// no other row changes them; else rows are batched by at most `batch_tokens` padded tokens, and batch mates change nothing beyond rounding.
std::vector<std::vector<float>> sequence_logprobs(const Llama& model, const std::vector<core::Ids>& rows, double temperature = 1.0,
                                                  int64_t batch_tokens = 4096);

// The same for rows that come bit by bit: prepares the model once. Shares its weights, which may not change.
using RowLogprobs = std::function<std::vector<std::vector<float>>(const std::vector<core::Ids>& rows)>;
RowLogprobs logprobs_by(const Llama& model, double temperature = 1.0);

// The largest tensor of logits in memory, bytes. Larger ones are computed in chunks of positions, and a backward pass computes each chunk
// again instead of keeping all.
inline constexpr int64_t kMostLogitsBytes = int64_t{1} << 28;

// Positions whose logits are computed at once, at least 1.
int64_t positions_at_once(const Llama& model, int64_t most_bytes = kMostLogitsBytes);

// log p(target) in nats, of softmax(logits / temperature), from final hidden states: [N, D] and [N] int64 -> [N] fp32, with gradients if
// states or head have them. On the host wherever the model lies: losses and statistics of so few numbers are computed there, and a step
// waits for a device once.
at::Tensor state_logprobs(const Llama& model, const at::Tensor& states, const at::Tensor& targets, double temperature = 1.0,
                          int64_t most_bytes = kMostLogitsBytes);

// The same with the entropy of each position's distribution, nats, [N] fp32 without gradients.
struct StateLogprobs {
  at::Tensor logprobs, entropies;
};
StateLogprobs state_logprobs_and_entropies(const Llama& model, const at::Tensor& states, const at::Tensor& targets,
                                           double temperature = 1.0, int64_t most_bytes = kMostLogitsBytes);

// log p of the targets marked true, [N] fp32 in row-major order, with gradients if the model's weights have them. Logits are computed for
// these positions alone.
at::Tensor masked_logprobs(const Llama& model, const runtime::TargetBatch& batch, double temperature = 1.0);

// Throws c10::Error unless all ids lie in 0..vocab_size-1 and no row is longer than the context.
void check_ids(const Llama& model, const std::vector<core::Ids>& rows);

}  // namespace keel::policy
