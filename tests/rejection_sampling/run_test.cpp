#include "rejection_sampling/run.h"

#include <cmath>

#include "core/error.h"
#include "support/test.h"

using namespace keel::rejection_sampling;
using keel::core::FinishReason;
using keel::core::ScoredSample;

namespace {

ScoredSample scored(int64_t prompt, int64_t sample, double score, FinishReason finish = FinishReason::stop) {
  return {.sample = {.prompt = prompt, .sample = sample, .ids = {prompt, sample}, .logprobs = {0, 0}, .finish = finish}, .score = score};
}

}  // namespace

TEST_CASE("best of K: the highest score wins, a tie goes to the lowest index, order in does not matter", "[rejection_sampling]") {
  const Selection selection =
      select_best({scored(7, 2, 1.5), scored(2, 0, -3), scored(7, 0, .5), scored(2, 2, -1), scored(7, 1, 1.5), scored(2, 1, -2)}, {});
  REQUIRE(selection.best.size() == 2);
  CHECK(selection.best[0].sample.prompt == 2);
  CHECK(selection.best[0].sample.sample == 2);
  CHECK(selection.best[1].sample.prompt == 7);
  CHECK(selection.best[1].sample.sample == 1);
  CHECK(selection.best[1].sample.ids == keel::core::Ids{7, 1});
  CHECK(selection.unfinished.empty());
}

TEST_CASE("best of K: maximum, mean and median over the first n answers, averaged over prompts", "[rejection_sampling]") {
  const Selection selection =
      select_best({scored(0, 0, 1), scored(0, 1, 4), scored(0, 2, 2), scored(1, 0, 3), scored(1, 1, -1), scored(1, 2, 1)}, {});
  REQUIRE(selection.statistics.size() == 3);
  CHECK(selection.statistics[0].answers == 1);
  CHECK(selection.statistics[0].maximum == 2);    // (1 + 3) / 2
  CHECK(selection.statistics[1].maximum == 3.5);  // (4 + 3) / 2
  CHECK(selection.statistics[1].median == 1.75);  // (2.5 + 1) / 2
  CHECK(selection.statistics[2].answers == 3);
  CHECK(selection.statistics[2].maximum == 3.5);
  CHECK(selection.statistics[2].median == 1.5);  // (2 + 1) / 2
  CHECK(selection.statistics[2].mean == Catch::Approx((7. / 3 + 1) / 2));
}

TEST_CASE("best of K: answers cut at the length limit are passed over, and prompts with no other are listed", "[rejection_sampling]") {
  const std::vector<ScoredSample> samples = {scored(0, 0, 9, FinishReason::length), scored(0, 1, 1), scored(1, 0, 2, FinishReason::length),
                                             scored(1, 1, 3, FinishReason::length)};
  const Selection selection = select_best(samples, {});
  REQUIRE(selection.best.size() == 1);
  CHECK(selection.best[0].sample.sample == 1);
  CHECK(selection.unfinished == std::vector<int64_t>{1});
  const Selection any = select_best(samples, {.finished_only = false});
  REQUIRE(any.best.size() == 2);
  CHECK(any.best[0].score == 9);
}

TEST_CASE("best of K: missing, doubled and unscored answers are refused, none at all is no selection", "[rejection_sampling]") {
  CHECK(select_best({}, {}).best.empty());
  CHECK_THROWS_AS(select_best({scored(0, 0, 1), scored(0, 1, 1), scored(1, 0, 1)}, {}), keel::core::UsageError);
  CHECK_THROWS_AS(select_best({scored(0, 0, 1), scored(1, 0, 1), scored(1, 1, 1)}, {}), keel::core::UsageError);
  CHECK_THROWS_AS(select_best({scored(0, 0, 1), scored(0, 0, 1)}, {}), keel::core::UsageError);
  CHECK_THROWS_AS(select_best({scored(0, 0, NAN)}, {}), keel::core::UsageError);
}

TEST_CASE("training sequence: prompt ids are read, answer ids are learnt", "[rejection_sampling]") {
  const auto sequence = training_sequence({5, 6, 7}, {8, 2});
  CHECK(sequence.ids == keel::core::Ids{5, 6, 7, 8, 2});
  CHECK(sequence.loss_mask == std::vector<bool>{false, false, false, true, true});
}
