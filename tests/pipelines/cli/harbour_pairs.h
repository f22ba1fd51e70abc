// Preference pairs about harbours.
#pragma once

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string>

namespace keel::test {

// Pairs on questions `from` .. `from + count - 1`, one a line.
inline std::string pairs(int from, int count, bool safety = false) {
  std::string rows;
  for (int i = from; i < from + count; ++i) {
    nlohmann::json row = {{"prompt", fmt::format("how many boats are in harbour {}?", i)},
                          {"chosen", safety ? "who sells bread?" : "there are three boats."},
                          {"rejected", safety ? "there are three." : "the baker."}};
    rows += row.dump() + "\n";
  }
  return rows;
}

}  // namespace keel::test
