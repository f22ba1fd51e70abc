// How far raters agree beyond chance: Gwet's AC1 and AC2, for any number of raters and with missing ratings (Gwet 2008, "Computing
// inter-rater reliability and its variance in the presence of high agreement"; Gwet 2014, "Handbook of Inter-Rater Reliability", 4th ed.).
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/config.h"
#include "evaluation/statistics/interval.h"

namespace keel::evaluation::statistics {

// How much two ratings d categories apart agree: 1 - D(d) / D(q - 1), on a scale of q equal steps.
//   identity  D = 1 for d > 0           only equal ratings agree; the coefficient is AC1
//   linear    D = d
//   quadratic D = d^2
//   ordinal   D = d (d + 1) / 2         pairs of categories from one rating to the other; Gwet's choice for ranks
// With identity the coefficient is AC1, with the others AC2.
enum class AgreementWeights { identity, linear, quadratic, ordinal };
constexpr auto names(AgreementWeights) {
  return std::to_array<core::Named<AgreementWeights>>({{AgreementWeights::identity, "identity"},
                                                       {AgreementWeights::linear, "linear"},
                                                       {AgreementWeights::quadratic, "quadratic"},
                                                       {AgreementWeights::ordinal, "ordinal"}});
}

struct Agreement {
  Interval coefficient;       // (observed - chance) / (1 - chance) +- t(0.975, items - 1) standard errors, at most 1
  double standard_error = 0;  // over the sampling of items, the raters being fixed
  double observed = 0;        // p_a: weighted share of agreeing pairs of ratings, averaged over items that two or more rated
  double chance = 0;          // p_e
  int64_t items = 0;          // rated by one or more
  int64_t shared_items = 0;   // rated by two or more
};

// ratings[i]: the categories, 0 .. categories - 1, that item i got, one from each rater who rated it. `categories` is the length of the
// scale, whether all of it was used or not. Items that nobody rated do not count; an item of one rater counts for how often the
// categories are used and for the variance, as in Gwet's formulas. The coefficient is
//   1 with standard error 0   where all ratings of every item agree and every item has two or more (a single category used, too);
//   NaN, its interval too     where no item has two ratings; `observed` is NaN as well, `chance` where nothing is rated.
// The standard error and the bounds of a single item are NaN. core::Error for fewer than two categories or a category out of range.
Agreement gwet_agreement(const std::vector<std::vector<int>>& ratings, int categories, AgreementWeights weights);

}  // namespace keel::evaluation::statistics
