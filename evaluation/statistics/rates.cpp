#include "evaluation/statistics/rates.h"

#include <cmath>

#include "core/error.h"

namespace keel::evaluation::statistics {
namespace {

// P(X <= events) for X ~ Poisson(mean).
double poisson_cdf(int64_t events, double mean) {
  double total = 0;
  for (int64_t i = 0; i <= events; ++i)
    total += std::exp(static_cast<double>(i) * std::log(mean) - mean - std::lgamma(static_cast<double>(i) + 1));
  return total;
}

// The mean at which P(X <= events) = `probability`, by bisection: the probability falls as the mean grows.
double mean_where(int64_t events, double probability) {
  double low = 1e-12, high = 2 * static_cast<double>(events) + 20;
  for (int i = 0; i < 200; ++i) {
    const double middle = (low + high) / 2;
    (poisson_cdf(events, middle) > probability ? low : high) = middle;
  }
  return (low + high) / 2;
}

}  // namespace

Interval poisson_interval(int64_t events, double exposure) {
  if (events < 0 || !(exposure > 0)) throw core::Error(core::Exit::internal, "a rate needs events from 0 and an exposure above 0");
  return {.mean = static_cast<double>(events) / exposure,
          .low = events == 0 ? 0 : mean_where(events - 1, 0.975) / exposure,
          .high = mean_where(events, 0.025) / exposure};
}

}  // namespace keel::evaluation::statistics
