// What keel redteam prints and writes about attempts.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "red_team/attempt.h"
#include "red_team/target.h"

namespace keel::pipelines::cli::talk {

// The result of an automatic search or its control on a target.
nlohmann::json distinct_row(const std::string& source, const red_team::Target& target, const std::vector<red_team::Attempt>& attempts,
                            int64_t refused);

// JSON lines in `out` ("" = standard output); the same as tables on standard error.
void write_red_team_report(const std::vector<red_team::Attempt>& attempts, double attempt_seconds, const std::string& out);

}  // namespace keel::pipelines::cli::talk
