// The pretraining mix of InstructGPT (Ouyang et al. 2022, arXiv 2203.02155, equation 2: PPO-ptx): next-token loss on text of another
// source, added to the policy's loss so that the policy does not forget what the reward does not ask for. Llama 2 does not use it.
#pragma once

#include <cstdint>
#include <vector>

#include "core/config.h"
#include "core/types.h"
#include "policy/llama.h"

namespace keel::ppo {

struct PtxConfig {
  double weight = 0;
  int64_t batch_sequences = 64;  // as many as the minibatch has answers
};

inline void visit(PtxConfig& config, core::Fields& fields) {
  fields("weight", config.weight, "weight of the next-token loss on pretraining sequences; 0 = none", core::at_least(0.0));
  fields("batch_sequences", config.batch_sequences, "sequences an optimiser step", core::at_least(1));
}

// -1/targets * sum of log p(target) over these sequences, nats, at temperature 1; `targets` counts the targets of the whole optimiser step.
// 0-dim, with gradients.
at::Tensor ptx_loss(const policy::Llama& policy, const std::vector<const core::TokenSequence*>& sequences, int64_t targets);

int64_t count_targets(const core::TokenSequence& sequence);  // the first id is not a target: nothing predicts it

}  // namespace keel::ppo
