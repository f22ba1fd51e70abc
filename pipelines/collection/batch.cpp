#include "pipelines/collection/batch.h"

#include <fmt/format.h>

namespace keel::pipelines::collection {

std::vector<std::string> kinds_of(bool with_public) {
  if (with_public) return {"helpfulness", "safety", "public"};
  return {"helpfulness", "safety"};
}

std::string purpose_of(int64_t version, const std::string& rest) {
  return fmt::format("preferences{}{}", version == 1 ? "" : std::to_string(version), rest);
}

}  // namespace keel::pipelines::collection
