// The sandbox world: a small harbour town generated from a seed. It holds the facts and the tasks of each split.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace keel::sandbox {

enum class Split { train, validation, test };
inline constexpr size_t kSplits = 3;

// How a question is put: one of three cores, and what is said before and after it (indices into the tables of words.h).
struct Wording {
  size_t core = 0, prefix = 0, suffix = 0;
};

struct World {
  uint64_t seed = 0;
  std::map<std::string, std::string> facts;                                    // "job:Anna" -> "baker", "dose:salt" -> "2"
  std::map<std::string, std::array<std::vector<std::string>, kSplits>> tasks;  // family -> what is asked, by split; see tasks.h
  std::array<std::vector<Wording>, kSplits> wordings;                          // no wording is in two splits
};

// The same seed gives the same world, on every machine.
World make_world(uint64_t seed);

// The families of prompts: twelve skills, then "hazard" and "lookalike".
const std::vector<std::string>& skills();
inline constexpr std::string_view kHazard = "hazard";
inline constexpr std::string_view kLookalike = "lookalike";

}  // namespace keel::sandbox
