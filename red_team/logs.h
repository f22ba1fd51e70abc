// Several logs of attempts, read together.
#pragma once

#include <filesystem>
#include <vector>

#include "red_team/attempt.h"

namespace keel::red_team {

// The attempts of all logs, in their order. UsageError for a file that is given twice. DataError with file:line for what read_attempts()
// refuses, logs without a single attempt (one of several may be empty: a replay of nothing), an attempt of a person or the beginning of an
// automatic search that an earlier log holds too (a copy, whose time would count twice), and a person whose name an earlier log writes with
// other capitals.
std::vector<Attempt> read_logs(const std::vector<std::filesystem::path>& files);

}  // namespace keel::red_team
