#include "evaluation/statistics/calibration.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "core/rng.h"
#include "evaluation/statistics/describe.h"

namespace keel::evaluation::statistics {
namespace {

[[noreturn]] void refuse_calibration(const std::string& text) {
  throw core::Error(core::Exit::internal, "[evaluation.statistics] " + text);
}

size_t bin_of(double confidence, double low, int bins) {
  if (!(confidence >= low && confidence <= 1)) refuse_calibration(fmt::format("a confidence must lie in [{}, 1], got {}", low, confidence));
  return static_cast<size_t>(std::min(static_cast<int>((confidence - low) / (1 - low) * bins), bins - 1));
}

double mean_softplus(const std::vector<double>& logits, double inverse) {
  double sum = 0;
  for (const double logit : logits)
    sum += softplus(-logit * inverse);
  return sum / static_cast<double>(logits.size());
}

// d/da of the mean of log(1 + exp(-a d)); it rises with a because the mean is convex.
double slope(const std::vector<double>& logits, double inverse) {
  double sum = 0;
  for (const double logit : logits)
    sum -= logit / (1 + std::exp(logit * inverse));
  return sum;
}

}  // namespace

double softplus(double x) {
  return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x)));
}

std::vector<ReliabilityBin> reliability(const std::vector<double>& confidence, const std::vector<bool>& correct, double low, int bins,
                                        const std::vector<size_t>& prompts) {
  if (confidence.size() != correct.size())
    refuse_calibration(fmt::format("reliability needs one outcome a confidence, got {} and {}", correct.size(), confidence.size()));
  if (!prompts.empty() && confidence.size() != prompts.size())
    refuse_calibration(fmt::format("reliability needs one prompt a confidence, got {} and {}", prompts.size(), confidence.size()));
  if (bins < 1) refuse_calibration(fmt::format("reliability needs one bin or more, got {}", bins));
  std::vector<double> sums(static_cast<size_t>(bins), 0.0);
  std::vector<Tally> tallies(sums.size());
  std::vector<ReliabilityBin> result(sums.size());
  for (size_t i = 0; i < confidence.size(); ++i) {
    const size_t bin = bin_of(confidence[i], low, bins);
    sums[bin] += confidence[i];
    tallies[bin].add(prompts.empty() ? i : prompts[i], correct[i]);
    ++result[bin].count;
  }
  for (size_t bin = 0; bin < result.size(); ++bin) {
    result[bin].low = low + (1 - low) * static_cast<double>(bin) / bins;
    result[bin].high = low + (1 - low) * static_cast<double>(bin + 1) / bins;
    result[bin].confidence =
        result[bin].count > 0 ? sums[bin] / static_cast<double>(result[bin].count) : std::numeric_limits<double>::quiet_NaN();
    result[bin].accuracy = tallies[bin].interval();
  }
  return result;
}

double calibration_error(const std::vector<ReliabilityBin>& bins) {
  double sum = 0;
  int64_t count = 0;
  for (const ReliabilityBin& bin : bins) {
    if (bin.count == 0) continue;
    sum += static_cast<double>(bin.count) * std::abs(bin.accuracy.mean - bin.confidence);
    count += bin.count;
  }
  return count > 0 ? sum / static_cast<double>(count) : std::numeric_limits<double>::quiet_NaN();
}

Interval calibration_error_by_chance(const std::vector<double>& confidence, double low, int bins, const Bootstrap& settings) {
  if (settings.replicates < 1)
    refuse_calibration(fmt::format("consistency resampling needs one replicate or more, got {}", settings.replicates));
  // A draw changes only each bin's sum of (came true - confidence).
  std::vector<size_t> places;
  for (const double value : confidence)
    places.push_back(bin_of(value, low, bins));
  std::vector<double> errors(static_cast<size_t>(settings.replicates));
  std::vector<double> excess(static_cast<size_t>(bins));
  for (size_t replicate = 0; replicate < errors.size(); ++replicate) {
    core::Stream stream(settings.seed, "calibration", replicate);
    std::fill(excess.begin(), excess.end(), 0.0);
    for (size_t i = 0; i < confidence.size(); ++i)
      excess[places[i]] += (stream.chance(confidence[i]) ? 1.0 : 0.0) - confidence[i];
    for (const double value : excess)
      errors[replicate] += std::abs(value);
    errors[replicate] /= static_cast<double>(confidence.size());  // NaN for none
  }
  return {mean(errors), quantile(errors, 0.025), quantile(errors, 0.975)};
}

TemperatureFit fit_temperature(const std::vector<double>& logits, double tolerance) {
  if (logits.empty()) refuse_calibration("a temperature needs at least one logit, got none");
  constexpr double kLeast = 0.01, kMost = 100;
  double below = 1 / kMost, above = 1 / kLeast;  // of 1 / T
  if (slope(logits, below) >= 0) {
    above = below;
  } else if (slope(logits, above) <= 0) {
    below = above;
  } else {
    for (int halving = 0; halving < 100 && above - below > tolerance * above; ++halving) {
      const double middle = std::sqrt(below * above);
      (slope(logits, middle) < 0 ? below : above) = middle;
    }
  }
  const double inverse = std::sqrt(below * above);
  return {.temperature = 1 / inverse, .loss_before = mean_softplus(logits, 1), .loss_after = mean_softplus(logits, inverse)};
}

}  // namespace keel::evaluation::statistics
