// How many rows of a data set were kept, dropped and shortened, by reason.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace keel::data {

struct Counts {
  int64_t kept = 0;                          // rows that went on; a truncated row is kept too
  std::map<std::string, int64_t> dropped;    // by reason: "empty_answer", "over_long" ...
  std::map<std::string, int64_t> truncated;  // by what was left out: "oldest_turns"

  Counts& operator+=(const Counts& other);
  bool operator==(const Counts&) const = default;
};

// "kept 2339, dropped 15 (empty_answer 4, identical_answers 2, prompts_differ 9), truncated 0"
std::string to_line(const Counts& counts);

// {"kept": n, "dropped": {reason: n}, "truncated": {reason: n}}
nlohmann::json to_json(const Counts& counts);

}  // namespace keel::data
