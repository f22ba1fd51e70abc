#include "evaluation/statistics/describe.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/error.h"

namespace keel::evaluation::statistics {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

bool any_nan(const std::vector<double>& values) {
  return std::any_of(values.begin(), values.end(), [](double value) { return std::isnan(value); });
}

}  // namespace

double mean(const std::vector<double>& values) {
  if (values.empty()) return kNan;
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double standard_deviation(const std::vector<double>& values) {
  if (values.size() < 2) return kNan;
  const double centre = mean(values);
  double squares = 0;
  for (const double value : values)
    squares += (value - centre) * (value - centre);
  return std::sqrt(squares / static_cast<double>(values.size() - 1));
}

double quantile(std::vector<double> values, double p) {
  if (values.empty() || any_nan(values)) return kNan;
  const double place = std::clamp(p, 0.0, 1.0) * static_cast<double>(values.size() - 1);
  const auto below = values.begin() + static_cast<std::ptrdiff_t>(place);
  std::nth_element(values.begin(), below, values.end());
  const double low = *below;
  const double share = place - std::floor(place);
  if (share == 0) return low;
  return low + share * (*std::min_element(below + 1, values.end()) - low);
}

Histogram histogram(const std::vector<double>& values, std::vector<double> edges) {
  if (edges.size() < 2 || any_nan(edges) || !std::is_sorted(edges.begin(), edges.end())) {
    throw core::Error(core::Exit::internal,
                      fmt::format("[evaluation.statistics] a histogram needs two or more ascending edges, got {}", edges.size()));
  }
  Histogram result{std::move(edges), {}, 0};
  result.counts.assign(result.edges.size() - 1, 0);
  for (const double value : values) {
    if (!(value >= result.edges.front() && value <= result.edges.back())) {
      ++result.outside;
      continue;
    }
    const auto above = std::upper_bound(result.edges.begin(), result.edges.end() - 1, value);
    ++result.counts[static_cast<size_t>(above - result.edges.begin() - 1)];
  }
  return result;
}

std::vector<double> ranks(const std::vector<double>& values) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a] < values[b]; });
  std::vector<double> result(values.size());
  for (size_t first = 0, last = 0; first < order.size(); first = last) {
    while (last < order.size() && values[order[last]] == values[order[first]])
      ++last;
    for (size_t i = first; i < last; ++i)
      result[order[i]] = static_cast<double>(first + last + 1) / 2;
  }
  return result;
}

double pearson(const std::vector<double>& x, const std::vector<double>& y) {
  if (x.size() != y.size()) {
    throw core::Error(core::Exit::internal,
                      fmt::format("[evaluation.statistics] a correlation needs as many x as y, got {} and {}", x.size(), y.size()));
  }
  const double x_mean = mean(x), y_mean = mean(y);
  double xx = 0, yy = 0, xy = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    xx += (x[i] - x_mean) * (x[i] - x_mean);
    yy += (y[i] - y_mean) * (y[i] - y_mean);
    xy += (x[i] - x_mean) * (y[i] - y_mean);
  }
  if (x.size() < 2 || xx == 0 || yy == 0) return kNan;
  return std::clamp(xy / std::sqrt(xx) / std::sqrt(yy), -1.0, 1.0);
}

double spearman(const std::vector<double>& x, const std::vector<double>& y) {
  if (any_nan(x) || any_nan(y)) return kNan;
  return pearson(ranks(x), ranks(y));
}

}  // namespace keel::evaluation::statistics
