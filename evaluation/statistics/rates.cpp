#include "evaluation/statistics/rates.h"

#include <fmt/format.h>

#include <boost/math/distributions/chi_squared.hpp>
#include <cmath>
#include <limits>

#include "core/error.h"

namespace keel::evaluation::statistics {
namespace {

double chi_squared_quantile(double p, double degrees) {
  return boost::math::quantile(boost::math::chi_squared(degrees), p);
}

}  // namespace

Interval poisson_rate(int64_t events, double exposure) {
  if (events < 0 || !std::isfinite(exposure) || exposure < 0 || (exposure == 0 && events > 0))
    throw core::Error(
        core::Exit::internal,
        fmt::format("[evaluation.statistics] a rate needs events >= 0 over a finite exposure, got {} over {}", events, exposure));
  if (exposure == 0) return {std::numeric_limits<double>::quiet_NaN(), 0, std::numeric_limits<double>::infinity()};
  const auto k = static_cast<double>(events);
  const double low = events == 0 ? 0 : chi_squared_quantile(0.025, 2 * k) / 2;
  const double high = chi_squared_quantile(0.975, 2 * k + 2) / 2;
  return {k / exposure, low / exposure, high / exposure};
}

}  // namespace keel::evaluation::statistics
