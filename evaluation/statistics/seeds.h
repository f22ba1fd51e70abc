// Statistics over runs that differ in their seed alone: few values, so Student's t and not the bootstrap.
#pragma once

#include <vector>

#include "evaluation/statistics/interval.h"

namespace keel::evaluation::statistics {

// Mean +- t(0.975, n - 1) * standard deviation / sqrt(n). Fewer than three values give a mean without interval: low and high are NaN.
// No values: all NaN.
Interval seed_interval(const std::vector<double>& values);

}  // namespace keel::evaluation::statistics
