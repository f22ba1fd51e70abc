#include "evaluation/statistics/seeds.h"

#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <limits>

#include "evaluation/statistics/describe.h"

namespace keel::evaluation::statistics {

Interval seed_interval(const std::vector<double>& values) {
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  const double middle = mean(values);
  if (values.size() < 3) return {middle, kNone, kNone};
  const auto n = static_cast<double>(values.size());
  const double half = boost::math::quantile(boost::math::students_t(n - 1), 0.975) * standard_deviation(values) / std::sqrt(n);
  return {middle, middle - half, middle + half};
}

}  // namespace keel::evaluation::statistics
