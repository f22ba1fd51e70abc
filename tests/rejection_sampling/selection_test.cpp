#include "rejection_sampling/selection.h"

#include <cmath>

#include "core/error.h"
#include "support/test.h"

using namespace keel::rejection_sampling;
using Catch::Matchers::ContainsSubstring;
using keel::core::FinishReason;
using keel::core::ScoredSample;

namespace {

ScoredSample scored(int64_t prompt, int64_t sample, double probability, FinishReason finish = FinishReason::stop) {
  return {.sample = {.prompt = prompt, .sample = sample, .ids = {prompt, sample}, .logprobs = {0, 0}, .finish = finish},
          .probability = probability};
}

}  // namespace

TEST_CASE("best of K: the highest probability wins, a tie goes to the lowest index, order in does not matter", "[rejection_sampling]") {
  const Selection selection =
      select_best({scored(7, 2, .8), scored(2, 0, .1), scored(7, 0, .5), scored(2, 2, .3), scored(7, 1, .8), scored(2, 1, .2)}, {});
  REQUIRE(selection.best.size() == 2);
  CHECK(selection.best[0].sample.prompt == 2);
  CHECK(selection.best[0].sample.sample == 2);
  CHECK(selection.best[1].sample.prompt == 7);
  CHECK(selection.best[1].sample.sample == 1);
  CHECK(selection.best[1].sample.ids == keel::core::Ids{7, 1});
  CHECK(selection.unfinished.empty());
}

TEST_CASE("best of K: maximum and median over the first n answers to each prompt", "[rejection_sampling]") {
  const Selection selection =
      select_best({scored(0, 0, .25), scored(0, 1, 1), scored(0, 2, .5), scored(1, 0, .75), scored(1, 1, 0), scored(1, 2, .25)}, {});
  REQUIRE(selection.statistics.size() == 3);
  using Values = std::vector<double>;
  CHECK(selection.statistics[0].answers == 1);
  CHECK(selection.statistics[0].maximum == Values{.25, .75});
  CHECK(selection.statistics[0].median == Values{.25, .75});
  CHECK(selection.statistics[1].maximum == Values{1, .75});
  CHECK(selection.statistics[1].median == Values{.625, .375});
  CHECK(selection.statistics[2].answers == 3);
  CHECK(selection.statistics[2].maximum == Values{1, .75});
  CHECK(selection.statistics[2].median == Values{.5, .25});
}

TEST_CASE("pool: answers of all versions, exact duplicates once, the first one's probability stays", "[rejection_sampling]") {
  const KeptAnswer old{.prompt = {1, 2}, .answer = {3}, .probability = 0.4, .version = 1},
      again{.prompt = {1, 2}, .answer = {3}, .probability = 0.9, .version = 2},
      better{.prompt = {1, 2}, .answer = {4}, .probability = 0.8, .version = 2},
      other{.prompt = {1}, .answer = {2, 3}, .probability = 0.1, .version = 2};
  const auto pool = pool_of({{old}, {again, better, other}});
  REQUIRE(pool.size() == 3);
  CHECK((pool[0].probability == 0.4 && pool[0].version == 1));
  CHECK(pool[1].answer == better.answer);
  CHECK(pool[2].prompt == other.prompt);
  CHECK(pool_of({}).empty());
}

TEST_CASE("best of K: answers cut at the length limit are passed over, and prompts with no other are listed", "[rejection_sampling]") {
  const std::vector<ScoredSample> samples = {scored(0, 0, .9, FinishReason::length), scored(0, 1, .1),
                                             scored(1, 0, .2, FinishReason::length), scored(1, 1, .3, FinishReason::length)};
  const Selection selection = select_best(samples, {});
  REQUIRE(selection.best.size() == 1);
  CHECK(selection.best[0].sample.sample == 1);
  CHECK(selection.unfinished == std::vector<int64_t>{1});
  const Selection any = select_best(samples, {.finished_only = false});
  REQUIRE(any.best.size() == 2);
  CHECK(any.best[0].probability == .9);
}

TEST_CASE("best of K: missing, doubled and unscored answers are refused, none at all is no selection", "[rejection_sampling]") {
  CHECK(select_best({}, {}).best.empty());
  CHECK_THROWS_AS(select_best({scored(0, 0, 1), scored(0, 1, 1), scored(1, 0, 1)}, {}), keel::core::UsageError);
  CHECK_THROWS_AS(select_best({scored(0, 0, 1), scored(1, 0, 1), scored(1, 1, 1)}, {}), keel::core::UsageError);
  CHECK_THROWS_AS(select_best({scored(0, 0, 1), scored(0, 0, 1)}, {}), keel::core::UsageError);
}

TEST_CASE("best of K: a raw score, or NaN, in place of a probability is refused", "[rejection_sampling]") {
  for (const double raw : {-1e-9, 1 + 1e-9, 2.5, -3., double{NAN}, double{INFINITY}})
    CHECK_THROWS_WITH(select_best({scored(3, 0, .5), scored(3, 1, raw)}, {}),
                      ContainsSubstring("sample 1 of prompt 3 has the probability"));
  CHECK(select_best({scored(0, 0, 0), scored(0, 1, 1)}, {}).best[0].sample.sample == 1);
}

TEST_CASE("training sequence: prompt ids are read, answer ids are learnt", "[rejection_sampling]") {
  const auto sequence = training_sequence({5, 6, 7}, {8, 2});
  CHECK(sequence.ids == keel::core::Ids{5, 6, 7, 8, 2});
  CHECK(sequence.loss_mask == std::vector<bool>{false, false, false, true, true});
}
