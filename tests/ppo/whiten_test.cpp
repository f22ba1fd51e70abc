#include "ppo/whiten.h"

#include "reward/combination.h"
#include "support/test.h"

using namespace keel::ppo;
using keel::test::bools;
using keel::test::tensor;

TEST_CASE("whiten (pitfall 4): masked values have mean 0 and unit population variance", "[ppo]") {
  // Published by execution of OpenRLHF and SFD (population form); 9 and -7 where the mask is false.
  const at::Tensor values = tensor({{1, 2, 3}, {0, -1, 9}, {-7, 9, 9}});
  const at::Tensor mask = bools({{1, 1, 1}, {1, 1, 0}, {0, 0, 0}});
  const at::Tensor white = masked_whiten(values, mask, 1e-8);
  CHECK_CLOSE(white, tensor({{0, .707107, 1.414214}, {-.707107, -1.414214, 0}, {0, 0, 0}}), 1e-6);
  CHECK_CLOSE(whiten(tensor({1, 2, 3, 0, -1}), 1e-8), tensor({0, .707107, 1.414214, -.707107, -1.414214}), 1e-6);
}

TEST_CASE("whiten (pitfall 4): seven more columns under the mask change nothing, even infinite ones", "[ppo]") {
  const at::Tensor values = tensor({{1, -2, .5}, {4, 0, 3}});
  const at::Tensor mask = bools({{1, 1, 1}, {1, 0, 1}});
  const at::Tensor wider = at::cat({values, at::full({2, 7}, INFINITY)}, 1);
  const at::Tensor wider_mask = at::cat({mask, at::zeros({2, 7}, at::kBool)}, 1);
  CHECK_CLOSE(masked_whiten(wider, wider_mask, 1e-8).slice(1, 0, 3), masked_whiten(values, mask, 1e-8), 0);
}

TEST_CASE("whiten (pitfall 4): one element, a constant input and an empty mask give zeros", "[ppo]") {
  CHECK_CLOSE(whiten(tensor({3.7, 3.7, 3.7}), 1e-8), tensor({0, 0, 0}), 1e-9);
  CHECK_CLOSE(whiten(at::full({1}, -5.3), 1e-8), at::zeros({1}), 0);
  CHECK_CLOSE(masked_whiten(tensor({{1, 2}, {3, 4}}), bools({{0, 0}, {0, 1}}), 1e-8), at::zeros({2, 2}), 0);
  CHECK_CLOSE(masked_whiten(tensor({{1, 2}, {3, 4}}), at::zeros({2, 2}, at::kBool), 1e-8), at::zeros({2, 2}), 0);
  CHECK(whiten(at::empty({0}), 1e-8).numel() == 0);
}

TEST_CASE("whiten: a mask of another shape or type is refused", "[ppo]") {
  CHECK_THROWS_AS(masked_whiten(at::zeros({2, 2}), at::zeros({2, 3}, at::kBool), 1e-8), c10::Error);
  CHECK_THROWS_AS(masked_whiten(at::zeros({2, 2}), at::zeros({2, 2}), 1e-8), c10::Error);
}

TEST_CASE("logit: finite at 0 and 1, and the paper's threshold is a raw score of -1.734601", "[ppo]") {
  CHECK_CLOSE(logit(tensor({.15, .5}).to(at::kDouble), 1e-6), tensor({-1.734601, 0}), 1e-6);
  CHECK_CLOSE(logit(tensor({0, 1}), 1e-6), tensor({-13.815510, 13.815510}), 1e-5);
}

TEST_CASE("shaped scores: whiten(logit(Rc)) behind the gate agrees with an independent program", "[ppo]") {
  const double helpfulness[] = {1.2, -.4, 2.5, .3, -1, 3}, safety[] = {.8, -2, -1.7, 1.5, -1.8, -6};
  const bool is_safety[] = {false, false, false, true, false, true};
  std::vector<double> combined;
  for (int i = 0; i < 6; ++i)
    combined.push_back(keel::reward::combined_probability(helpfulness[i], safety[i], is_safety[i], {}));
  const at::Tensor rc = at::tensor(combined, at::kDouble);
  CHECK_CLOSE(rc, tensor({.768524783, .119202922, .924141820, .817574476, .141851065, .002472623}), 1e-7);
  CHECK_CLOSE(shaped_scores(rc, {}, {}), tensor({.683647417, -.428728041, 1.135549947, .787932616, -.359204575, -1.819197364}), 1e-6);
}

TEST_CASE("shaped scores: hopeless and perfect answers stay finite, whitening can be turned off", "[ppo]") {
  CHECK(shaped_scores(tensor({0, 1, 1}), {}, {}).isfinite().all().item<bool>());
  CHECK_CLOSE(shaped_scores(at::full({1}, .7), {}, {}), at::zeros({1}), 0);
  CHECK_CLOSE(shaped_scores(tensor({.5, .85}), {}, {.whiten = false}), tensor({0, 1.734601}), 1e-5);
}

TEST_CASE("shaped scores: a raw score or NaN in place of a probability is refused", "[ppo]") {
  CHECK_THROWS_AS(shaped_scores(tensor({.5, 1.5}), {}, {}), c10::Error);
  CHECK_THROWS_AS(shaped_scores(tensor({-.2, .5}), {}, {}), c10::Error);
  CHECK_THROWS_AS(shaped_scores(tensor({NAN, .5}), {}, {}), c10::Error);
}

TEST_CASE("shaped scores: apart for each deciding model they have mean 0 and variance 1 among their own", "[ppo]") {
  // logit(.2) = -1.386294, logit(.5) = 0, logit(.8) = 1.386294; logit(.9) = 2.197225 and logit(.6) = .405465 by the safety model.
  const at::Tensor rc = tensor({.2, .9, .5, .6, .8}), safety = bools({{0, 1, 0, 1, 0}, {0, 0, 0, 0, 0}});
  const ScoreConfig apart{.whiten_scope = WhitenScope::deciding_model};
  CHECK_CLOSE(shaped_scores(rc, safety[0], apart), tensor({-1.224745, 1, 0, -1, 1.224745}), 1e-6);
  CHECK_CLOSE(shaped_scores(rc, safety[1], apart), shaped_scores(rc, safety[1], {}), 1e-7);
  CHECK(keel::test::largest_difference(shaped_scores(rc, safety[0], apart), shaped_scores(rc, safety[0], {})) > .1);
  CHECK_CLOSE(shaped_scores(tensor({.2, .9, .8}), bools({{0, 1, 0}, {0, 0, 0}})[0], apart), tensor({-1, 0, 1}), 1e-6);  // one of its kind
}
