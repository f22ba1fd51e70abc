#include "policy/sampling.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/searchsorted.h>
#include <ATen/ops/sort.h>

namespace keel::policy {

at::Tensor choose(const at::Tensor& logprobs, const at::Tensor& draws, const SamplingConfig& config) {
  if (config.temperature == 0) return at::argmax(logprobs, -1);
  const auto invert = [&](const at::Tensor& probabilities) {  // first index whose cumulative mass exceeds the draw
    const at::Tensor mass = probabilities.cumsum(-1);
    const at::Tensor target = draws.unsqueeze(-1) * mass.narrow(-1, mass.size(-1) - 1, 1);
    return at::searchsorted(mass, target, /*out_int32=*/false, /*right=*/true).clamp_max(mass.size(-1) - 1);
  };
  const at::Tensor probabilities = logprobs.to(at::kDouble).exp();
  if (config.top_k == 0 && config.top_p >= 1) return invert(probabilities).squeeze(-1);

  const auto [sorted, order] = at::sort(probabilities, /*stable=*/true, /*dim=*/-1, /*descending=*/true);
  at::Tensor kept = sorted;
  if (config.top_k > 0) kept = kept.masked_fill(at::arange(kept.size(-1), kept.options().dtype(at::kLong)) >= config.top_k, 0.0);
  if (config.top_p < 1) {
    const at::Tensor before = kept.cumsum(-1) - kept;
    kept = kept.masked_fill(before > config.top_p * kept.sum(-1, true), 0.0);
  }
  return order.gather(-1, invert(kept)).squeeze(-1);
}

}  // namespace keel::policy
