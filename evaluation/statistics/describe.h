// Descriptive statistics of samples: moments, quantiles, histograms, correlation. NaN among the values gives NaN, except where a
// function says otherwise.
#pragma once

#include <cstdint>
#include <vector>

namespace keel::evaluation::statistics {

double mean(const std::vector<double>& values);                // NaN for none
double standard_deviation(const std::vector<double>& values);  // with n - 1; NaN for fewer than two

// Linear interpolation between order statistics (Hyndman and Fan's type 7, the default of R and NumPy). `p` in [0, 1]; NaN for none.
double quantile(std::vector<double> values, double p);

// counts[i]: values in [edges[i], edges[i + 1]), the last bin with its right edge. `outside`: beyond the edges or NaN.
struct Histogram {
  std::vector<double> edges;
  std::vector<int64_t> counts;
  int64_t outside = 0;
};

// `edges` ascending, at least two, else core::Error.
Histogram histogram(const std::vector<double>& values, std::vector<double> edges);

// Ranks from 1; equal values share the mean of the places they take.
std::vector<double> ranks(const std::vector<double>& values);

// Product-moment correlation, and that of the ranks (ties share their mean rank). NaN for fewer than two points or where one side
// does not vary. Throws core::Error for unequal sizes.
double pearson(const std::vector<double>& x, const std::vector<double>& y);
double spearman(const std::vector<double>& x, const std::vector<double>& y);

}  // namespace keel::evaluation::statistics
