// 95 % intervals of event rates.
#pragma once

#include <cstdint>

#include "evaluation/statistics/interval.h"

namespace keel::evaluation::statistics {

// The exact interval of a Poisson rate (Garwood 1936): events / exposure, in events per unit of exposure. Throws core::Error for negative
// events and an exposure that is not positive.
Interval poisson_interval(int64_t events, double exposure);

}  // namespace keel::evaluation::statistics
