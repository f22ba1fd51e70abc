// The terminal at which people try and rate.
#pragma once

#include "red_team/terminal.h"

namespace keel::pipelines::cli {

// Standard input, standard output and the time.
red_team::Terminal terminal();

}  // namespace keel::pipelines::cli
