// Whether stated probabilities come true: reliability diagram, expected calibration error, and the temperature that would repair it
// (Guo et al. 2017, "On calibration of modern neural networks", equations 2, 3 and 9).
#pragma once

#include <cstdint>
#include <vector>

#include "evaluation/statistics/interval.h"

namespace keel::evaluation::statistics {

// Statements whose confidence lies in [low, high); the last bin holds its right edge too.
struct ReliabilityBin {
  double low = 0, high = 0;
  int64_t count = 0;
  double confidence = 0;  // mean of the bin; NaN for none
  Interval accuracy;      // share that came true
};

// `bins` bins of equal width from `low` to 1; statement i belongs to prompts[i] (empty: each to a prompt of its own). The accuracies have
// wilson_over_prompts() intervals. Throws core::Error for unequal sizes, a confidence outside [low, 1] or no bins.
std::vector<ReliabilityBin> reliability(const std::vector<double>& confidence, const std::vector<bool>& correct, double low, int bins,
                                        const std::vector<size_t>& prompts = {});

// ECE: mean over statements of |accuracy - confidence| of their bin; NaN for none.
double calibration_error(const std::vector<ReliabilityBin>& bins);

// The ECE of a perfectly calibrated forecaster on these confidences, which is above 0 by chance: mean and 95 % range over simulated
// outcomes (consistency resampling, Broecker and Smith 2007). {NaN, NaN, NaN} for no confidences.
Interval calibration_error_by_chance(const std::vector<double>& confidence, double low, int bins, const Bootstrap& settings = {});

// The T in [0.01, 100] that minimises the mean of log(1 + exp(-d / T)) over logits d of true statements, e.g. score differences for "the
// chosen answer wins". An end of the range means that there is no minimum: all d are positive, or their mean is not. Throws core::Error for
// no logits. `tolerance`: how exact T is, as a share of itself.
struct TemperatureFit {
  double temperature = 1;
  double loss_before = 0, loss_after = 0;  // nats a statement, at T = 1 and at the fitted T
};
TemperatureFit fit_temperature(const std::vector<double>& logits, double tolerance = 1e-15);

// log(1 + exp(x)) without overflow.
double softplus(double x);

}  // namespace keel::evaluation::statistics
