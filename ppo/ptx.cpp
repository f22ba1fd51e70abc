#include "ppo/ptx.h"

#include <ATen/TensorOperators.h>

#include <algorithm>

#include "policy/logprobs.h"
#include "runtime/batch.h"

namespace keel::ppo {

int64_t count_targets(const core::TokenSequence& sequence) {
  return sequence.loss_mask.empty() ? 0 : std::count(sequence.loss_mask.begin() + 1, sequence.loss_mask.end(), true);
}

at::Tensor ptx_loss(const policy::Llama& policy, const std::vector<const core::TokenSequence*>& sequences, int64_t targets) {
  TORCH_CHECK(targets > 0, "[ppo.ptx_loss] no target counts: every loss mask of the step is false");
  std::vector<std::vector<const core::TokenSequence*>> rows;
  for (const core::TokenSequence* sequence : sequences)
    rows.push_back({sequence});
  return -policy::masked_logprobs(policy, runtime::pack(rows)).sum() / static_cast<double>(targets);
}

}  // namespace keel::ppo
