// AdamW (Loshchilov & Hutter 2019) with global-norm gradient clipping. State is parallel to the parameters and saved by name.
//
// Of several ranks each holds and updates the moments of its own parameters, whole ones, and then gives their weights to the others
// (ZeRO stage 1, Rajbhandari et al. 2020). The bits are those of one that does it all.
#pragma once

#include <map>

#include "core/config.h"
#include "runtime/parameters.h"

namespace keel::runtime {

struct AdamWConfig {
  double beta1 = 0.9;  // paper 2.2
  double beta2 = 0.95;
  double epsilon = 1e-5;
  double weight_decay = 0.1;  // on every parameter, as torch.optim.AdamW over model.parameters()
  double clip_norm = 1.0;     // 0 = no clipping
};

inline void visit(AdamWConfig& config, core::Fields& fields) {
  fields("beta1", config.beta1, "decay of the first moment", core::half_open(0, 1));
  fields("beta2", config.beta2, "decay of the second moment", core::half_open(0, 1));
  fields("epsilon", config.epsilon, "added to the root of the second moment", core::above(0));
  fields("weight_decay", config.weight_decay, "decoupled weight decay of every parameter", core::at_least(0));
  fields("clip_norm", config.clip_norm, "largest global gradient norm; 0 = no clipping", core::at_least(0));
}

class AdamW {
 public:
  // Throws c10::Error when two parameters share memory: the gradient of a tied weight would count, and act, twice.
  AdamW(Parameters parameters, AdamWConfig config);

  // One update with the present gradients (none counts as zero), which are then cleared. Returns the global gradient norm before clipping.
  // Throws core::UsageError, before anything is changed, when this norm is not finite: under these settings training diverges. Gradients of
  // two parameters may share memory.
  double step(double learning_rate);

  int64_t steps() const { return steps_; }

  // Moments as named tensors ("optimizer.m.<name>", "optimizer.v.<name>") for checkpoints; load_state reads what state returned. All ranks
  // call it, and the first one gets all moments, those of others in host memory; another rank gets undefined tensors for what it does not
  // hold.
  Parameters state() const;
  void load_state(const std::map<std::string, at::Tensor>& tensors, int64_t steps);

 private:
  Parameters parameters_;
  AdamWConfig config_;
  std::vector<int> owners_;                       // of the parameters: ranks
  std::vector<at::Tensor> m_, v_, step_tensors_;  // undefined for parameters of other ranks
  int64_t steps_ = 0;
};

}  // namespace keel::runtime
