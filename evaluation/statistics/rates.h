// Rates of events over an exposure: violating prompts per person and hour, say.
#pragma once

#include <cstdint>

#include "evaluation/statistics/interval.h"

namespace keel::evaluation::statistics {

// events / exposure with the exact 95 % interval of a Poisson mean (Garwood 1936): the bounds are those means under which so many events
// or more, and so many or fewer, have probability 2.5 %. No events: from 0 on. No exposure: {NaN, 0, infinity}. core::Error for negative
// events, an exposure that is negative or not finite, and events without exposure.
Interval poisson_rate(int64_t events, double exposure);

}  // namespace keel::evaluation::statistics
