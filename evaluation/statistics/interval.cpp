#include "evaluation/statistics/interval.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/error.h"
#include "core/rng.h"
#include "evaluation/statistics/describe.h"

namespace keel::evaluation::statistics {
namespace {

[[noreturn]] void refuse(const std::string& text) {
  throw core::Error(core::Exit::internal, "[evaluation.statistics] " + text);
}

void expect_pairs(const std::vector<double>& a, const std::vector<double>& b) {
  if (a.size() == b.size()) return;
  refuse(fmt::format("a paired comparison needs one value a prompt from both models, got {} and {}", a.size(), b.size()));
}

// One of `count` items. Multiply and shift: the most favoured one leads by count / 2^32, far below what 10,000 replicates can resolve.
size_t draw(core::Stream& stream, uint64_t count) {
  return (uint64_t{stream.next()} * count) >> 32;
}

double resampled_mean(const std::vector<double>& values, core::Stream stream) {
  double sum = 0;
  for (size_t i = 0; i < values.size(); ++i)
    sum += values[draw(stream, values.size())];
  return sum / static_cast<double>(values.size());
}

// Wilson's interval of a share, computed for `n` trials.
Interval wilson_of(const Share& share, double n) {
  if (share.successes < 0 || share.successes > share.trials)
    refuse(fmt::format("0 <= successes <= trials is required, got {} of {}", share.successes, share.trials));
  if (share.trials == 0) return {std::numeric_limits<double>::quiet_NaN(), 0, 1};
  const double p = static_cast<double>(share.successes) / static_cast<double>(share.trials);
  const double z2 = kNormalQuantile * kNormalQuantile;
  const double centre = (p + z2 / (2 * n)) / (1 + z2 / n);
  const double half = kNormalQuantile / (1 + z2 / n) * std::sqrt(p * (1 - p) / n + z2 / (4 * n * n));
  // At 0 and n of n the bound is 0 or 1 exactly; rounding must not push it past the mean.
  return {p, share.successes == 0 ? 0 : centre - half, share.successes == share.trials ? 1 : centre + half};
}

void expect_replicates(size_t count, const Bootstrap& settings) {
  if (count == 0) refuse("a bootstrap needs at least one value, got none");
  if (settings.replicates < 1) refuse(fmt::format("a bootstrap needs at least one replicate, got {}", settings.replicates));
}

}  // namespace

Interval wilson(int64_t successes, int64_t trials) {
  return wilson_of({successes, trials}, static_cast<double>(trials));
}

Interval wilson_over_prompts(const std::vector<Share>& prompts) {
  Share all;
  double prompts_tried = 0, squares = 0;
  for (const Share& prompt : prompts) {
    const auto trials = static_cast<double>(prompt.trials);
    all = {all.successes + prompt.successes, all.trials + prompt.trials};
    prompts_tried += prompt.trials > 0 ? 1 : 0;
    squares += trials * trials;
  }
  const auto n = static_cast<double>(all.trials);
  if (all.successes == 0 || all.successes == all.trials || prompts_tried == 1) return wilson_of(all, n * n / squares);
  const double p = static_cast<double>(all.successes) / n;
  double between = 0;
  for (const Share& prompt : prompts)
    between += std::pow(static_cast<double>(prompt.successes) - p * static_cast<double>(prompt.trials), 2);
  // Variance of the share between prompts, with the usual correction for their number, divided by that of n independent trials.
  const double ratio = between / (n * p * (1 - p)) * prompts_tried / (prompts_tried - 1) * (n - 1) / n;
  return wilson_of(all, n / std::max(1.0, ratio));
}

Interval Tally::interval() const {
  std::vector<Share> prompts;
  for (const auto& [prompt, share] : by_prompt_)
    prompts.push_back(share);
  return wilson_over_prompts(prompts);
}

Interval bootstrap_mean(const std::vector<double>& values, const Bootstrap& settings) {
  expect_replicates(values.size(), settings);
  for (size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) refuse(fmt::format("a bootstrap needs finite values, got {} for prompt {}", values[i], i));
  }
  std::vector<double> means(static_cast<size_t>(settings.replicates));
  for (size_t i = 0; i < means.size(); ++i)
    means[i] = resampled_mean(values, core::Stream(settings.seed, "bootstrap", i));
  return {mean(values), quantile(means, 0.025), quantile(means, 0.975)};
}

Interval bootstrap_statistic(size_t count, const std::function<double(const std::vector<size_t>&)>& statistic, const Bootstrap& settings) {
  expect_replicates(count, settings);
  std::vector<size_t> items(count);
  std::iota(items.begin(), items.end(), size_t{0});
  const double whole = statistic(items);
  std::vector<double> replicates;
  for (int64_t i = 0; i < settings.replicates; ++i) {
    core::Stream stream(settings.seed, "bootstrap", static_cast<uint64_t>(i));
    for (size_t& item : items)
      item = draw(stream, count);
    if (const double value = statistic(items); std::isfinite(value)) replicates.push_back(value);
  }
  return {whole, quantile(replicates, 0.025), quantile(replicates, 0.975)};
}

Interval bootstrap_over_prompts(const std::vector<std::vector<size_t>>& prompts,
                                const std::function<double(const std::vector<size_t>&)>& statistic, const Bootstrap& settings) {
  std::vector<size_t> items;
  return bootstrap_statistic(
      prompts.size(),
      [&](const std::vector<size_t>& drawn) {
        items.clear();
        for (const size_t prompt : drawn)
          items.insert(items.end(), prompts[prompt].begin(), prompts[prompt].end());
        return statistic(items);
      },
      settings);
}

Interval bootstrap_difference(const std::vector<double>& a, const std::vector<double>& b, const Bootstrap& settings) {
  expect_pairs(a, b);
  std::vector<double> differences(a.size());
  for (size_t i = 0; i < a.size(); ++i)
    differences[i] = a[i] - b[i];
  return bootstrap_mean(differences, settings);
}

Interval bootstrap_win_rate(const std::vector<double>& a, const std::vector<double>& b, const Bootstrap& settings) {
  expect_pairs(a, b);
  std::vector<double> wins(a.size());
  for (size_t i = 0; i < a.size(); ++i) {
    if (!std::isfinite(a[i]) || !std::isfinite(b[i])) {  // else NaN would count as a loss
      refuse(fmt::format("a win rate needs finite scores, got {} and {} for prompt {}", a[i], b[i], i));
    }
    wins[i] = a[i] > b[i] ? 1.0 : (a[i] < b[i] ? 0.0 : 0.5);
  }
  return bootstrap_mean(wins, settings);
}

}  // namespace keel::evaluation::statistics
