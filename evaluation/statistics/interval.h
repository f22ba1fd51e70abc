// 95 % intervals: Wilson's for proportions (Wilson 1927) and the percentile bootstrap over prompts (Efron 1979), paired where two
// models answered the same prompts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <vector>

namespace keel::evaluation::statistics {

inline constexpr double kNormalQuantile = 1.959963984540054;  // of 0.975

struct Interval {
  double mean = 0;
  double low = 0;   // 2.5 %
  double high = 0;  // 97.5 %
};

// Wilson's score interval of successes / trials, never Wald's (which gives 10 of 10 a width of 0). No trials: {NaN, 0, 1}.
// Throws core::Error unless 0 <= successes <= trials.
Interval wilson(int64_t successes, int64_t trials);

// The trials of one prompt.
struct Share {
  int64_t successes = 0, trials = 0;
};

// The same for dependent trials: several may share a prompt. It is Wilson's interval for the effective sample size, the number of
// independent trials with the spread of the prompts (Kish; for proportions: Dean and Pagano 2015), at most the actual number. It equals
// wilson() where each prompt has one trial. Without a spread to measure (all or none succeed, or one prompt) the trials of a prompt are
// assumed to agree always.
Interval wilson_over_prompts(const std::vector<Share>& prompts);

// Counts trials, each with the number of its prompt.
class Tally {
 public:
  void add(size_t prompt, bool success) {
    Share& share = by_prompt_[prompt];
    for (Share* counts : {&share, &all_}) {
      counts->successes += success ? 1 : 0;
      counts->trials += 1;
    }
  }
  const Share& all() const { return all_; }
  Interval interval() const;  // wilson_over_prompts()

 private:
  Share all_;
  std::map<size_t, Share> by_prompt_;
};

struct Bootstrap {
  uint64_t seed = 0;
  int64_t replicates = 10000;
};

// The interval of a mean by resampling prompts. `values` holds one value a prompt (several samples of one prompt are not independent:
// average them first). Equal seeds and counts draw equal prompts, so figures of different models on the same prompts vary together.
// Throws core::Error for no values, a value that is not finite, or no replicates.
Interval bootstrap_mean(const std::vector<double>& values, const Bootstrap& settings = {});

// Mean of a[i] - b[i] over prompts i, both measured on the same prompts. Throws core::Error also for unequal sizes.
Interval bootstrap_difference(const std::vector<double>& a, const std::vector<double>& b, const Bootstrap& settings = {});

// Share of prompts on which a[i] > b[i]; a tie counts half for each side, the field's custom (the Llama 2 paper drops ties).
Interval bootstrap_win_rate(const std::vector<double>& a, const std::vector<double>& b, const Bootstrap& settings = {});

// The same for any other statistic of `count` items: `statistic` sees which items a replicate drew (all of them, in order, for the mean).
// Replicates on which it is not finite are left out; the bounds are NaN where none is left. Throws core::Error for no items or replicates.
Interval bootstrap_statistic(size_t count, const std::function<double(const std::vector<size_t>& items)>& statistic,
                             const Bootstrap& settings = {});

// The same for dependent items: prompts are drawn, each with all of its items. prompts[i] lists those of prompt i; where each has one, this
// is bootstrap_statistic().
Interval bootstrap_over_prompts(const std::vector<std::vector<size_t>>& prompts,
                                const std::function<double(const std::vector<size_t>& items)>& statistic, const Bootstrap& settings = {});

}  // namespace keel::evaluation::statistics
