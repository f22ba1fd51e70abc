#include "evaluation/statistics/decisions.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <utility>

#include "core/error.h"

namespace keel::evaluation::statistics {
namespace {

void expect_same_size(const char* what, size_t a, size_t b) {
  if (a == b) return;
  throw core::Error(core::Exit::internal, fmt::format("[evaluation.statistics] {} must be of one size, got {} and {}", what, a, b));
}

}  // namespace

Detection detect_below(const std::vector<double>& scores, const std::vector<bool>& wanted, double threshold) {
  expect_same_size("scores and what is wanted", scores.size(), wanted.size());
  Detection result{.threshold = threshold};
  for (size_t i = 0; i < scores.size(); ++i) {
    const bool flagged = scores[i] < threshold;
    result.flagged += flagged ? 1 : 0;
    result.hits += flagged && wanted[i] ? 1 : 0;
    result.wanted += wanted[i] ? 1 : 0;
  }
  return result;
}

std::vector<Detection> precision_recall_curve(const std::vector<double>& scores, const std::vector<bool>& wanted) {
  expect_same_size("scores and what is wanted", scores.size(), wanted.size());
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return scores[a] < scores[b]; });
  Detection running{.wanted = std::count(wanted.begin(), wanted.end(), true)};
  std::vector<Detection> curve;
  for (size_t i = 0; i < order.size(); ++i) {
    ++running.flagged;
    running.hits += wanted[order[i]] ? 1 : 0;
    const double here = scores[order[i]], next = i + 1 < order.size() ? scores[order[i + 1]] : here;
    if (next == here && i + 1 < order.size()) continue;
    // The midpoint of neighbouring numbers may round down to `here`, which would flag fewer items.
    running.threshold = std::max(here + (next - here) / 2, std::nextafter(here, INFINITY));
    curve.push_back(running);
  }
  return curve;
}

std::optional<Detection> detection_of_precision(const std::vector<Detection>& curve, double precision) {
  std::optional<Detection> best;
  for (const Detection& detection : curve)
    if (static_cast<double>(detection.hits) >= precision * static_cast<double>(detection.flagged)) best = detection;
  return best;
}

JudgeAgreement judge_agreement(const std::vector<bool>& a, const std::vector<bool>& b) {
  expect_same_size("two judges' decisions", a.size(), b.size());
  int64_t equal = 0;
  for (size_t i = 0; i < a.size(); ++i)
    equal += a[i] == b[i] ? 1 : 0;
  const auto count = static_cast<double>(a.size());
  const double yes_a = static_cast<double>(std::count(a.begin(), a.end(), true)) / count;
  const double yes_b = static_cast<double>(std::count(b.begin(), b.end(), true)) / count;
  const double chance = yes_a * yes_b + (1 - yes_a) * (1 - yes_b);
  const double share = static_cast<double>(equal) / count;
  return {.share = share, .kappa = chance == 1 ? std::numeric_limits<double>::quiet_NaN() : (share - chance) / (1 - chance)};
}

Interval cohen_kappa(const std::vector<int64_t>& a, const std::vector<int64_t>& b) {
  expect_same_size("two judges' categories", a.size(), b.size());
  const auto n = static_cast<double>(a.size());
  std::map<std::pair<int64_t, int64_t>, double> cells;  // p_ij
  std::map<int64_t, double> of_a, of_b;                 // p_i., p_.j
  for (size_t i = 0; i < a.size(); ++i) {
    cells[{a[i], b[i]}] += 1 / n;
    of_a[a[i]] += 1 / n;
    of_b[b[i]] += 1 / n;
  }
  double share = 0, chance = 0;
  for (const auto& [cell, p] : cells)
    share += cell.first == cell.second ? p : 0;
  for (const auto& [category, p] : of_a)
    chance += p * of_b[category];
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  if (a.empty() || (of_a.size() == 1 && of_b.contains(of_a.begin()->first) && of_b.size() == 1)) return {nan, nan, nan};
  const double kappa = (share - chance) / (1 - chance);

  // Equation 13 of the paper: the spread of each item's part in kappa.
  double spread = 0;
  for (const auto& [cell, p] : cells) {
    const auto [i, j] = cell;
    const double margins = i == j ? 1 - (of_a[i] + of_b[i]) * (1 - kappa) : (1 - kappa) * (of_b[i] + of_a[j]);
    spread += p * margins * margins;
  }
  const double centre = kappa - chance * (1 - kappa);
  const double variance = std::max(spread - centre * centre, 0.0) / (n * (1 - chance) * (1 - chance));
  const double half = kNormalQuantile * std::sqrt(variance);
  return {kappa, std::max(kappa - half, -1.0), std::min(kappa + half, 1.0)};
}

}  // namespace keel::evaluation::statistics
