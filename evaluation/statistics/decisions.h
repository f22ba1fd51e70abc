// Yes-or-no decisions: precision and recall of a threshold, and how far two judges agree beyond chance.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "evaluation/statistics/interval.h"

namespace keel::evaluation::statistics {

// Items flagged by "score < threshold", against those that should be.
struct Detection {
  double threshold = 0;
  int64_t flagged = 0, hits = 0, wanted = 0;
  double precision() const { return static_cast<double>(hits) / static_cast<double>(flagged); }  // NaN where nothing is flagged
  double recall() const { return static_cast<double>(hits) / static_cast<double>(wanted); }      // NaN where nothing is wanted
};

// `scores` and `wanted`: one each an item; core::Error for unequal sizes.
Detection detect_below(const std::vector<double>& scores, const std::vector<bool>& wanted, double threshold);

// One detection for every set of items that a threshold can flag, from the fewest to all: thresholds stand midway between neighbouring
// scores, the last one just above all of them. Equal scores are flagged together.
std::vector<Detection> precision_recall_curve(const std::vector<double>& scores, const std::vector<bool>& wanted);

// The detection of greatest recall among those whose precision is at least `precision`; nothing where none reaches it.
std::optional<Detection> detection_of_precision(const std::vector<Detection>& curve, double precision);

// Two judges on the same items: share of equal decisions, and Cohen's kappa, (share - chance) / (1 - chance), where chance is
// what independent judges with these rates of "yes" would reach. NaN where chance is 1. core::Error for unequal sizes.
struct JudgeAgreement {
  double share = 0, kappa = 0;
};
JudgeAgreement judge_agreement(const std::vector<bool>& a, const std::vector<bool>& b);

// Cohen's kappa of two judges who put the same items into any number of categories, with its 95 % interval by the large-sample variance of
// Fleiss, Cohen and Everitt (1969), within [-1, 1]. NaN without items and where chance is 1; perfect agreement has no width.
// core::Error for unequal sizes.
Interval cohen_kappa(const std::vector<int64_t>& a, const std::vector<int64_t>& b);

}  // namespace keel::evaluation::statistics
