#include "data/counts.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace keel::data {
namespace {

std::string total_and_reasons(const std::map<std::string, int64_t>& by_reason) {
  int64_t total = 0;
  std::string reasons;
  for (const auto& [reason, count] : by_reason) {
    total += count;
    reasons += fmt::format("{}{} {}", reasons.empty() ? "" : ", ", reason, count);
  }
  return reasons.empty() ? "0" : fmt::format("{} ({})", total, reasons);
}

}  // namespace

Counts& Counts::operator+=(const Counts& other) {
  kept += other.kept;
  for (const auto& [reason, count] : other.dropped)
    dropped[reason] += count;
  for (const auto& [reason, count] : other.truncated)
    truncated[reason] += count;
  return *this;
}

std::string to_line(const Counts& counts) {
  return fmt::format("kept {}, dropped {}, truncated {}", counts.kept, total_and_reasons(counts.dropped),
                     total_and_reasons(counts.truncated));
}

nlohmann::json to_json(const Counts& counts) {
  return {{"kept", counts.kept}, {"dropped", counts.dropped}, {"truncated", counts.truncated}};
}

}  // namespace keel::data
