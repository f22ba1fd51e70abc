#include "pipelines/collection/batch.h"

#include <fmt/format.h>

#include "core/rng.h"
#include "data/prompts.h"

namespace keel::pipelines::collection {

std::vector<recipe::SourceKind> kinds_of(bool with_public) {
  using recipe::SourceKind;
  if (with_public) return {SourceKind::helpfulness, SourceKind::safety, SourceKind::public_pairs};
  return {SourceKind::helpfulness, SourceKind::safety};
}

std::string purpose_of(int64_t version, const std::string& rest) {
  return fmt::format("preferences{}{}", version == 1 ? "" : std::to_string(version), rest);
}

bool chooses_reward_model(const core::Dialogue& prompt, uint64_t seed) {
  return data::held_out(prompt, 0.5, core::Stream(seed, "reward.validation").next());
}

}  // namespace keel::pipelines::collection
