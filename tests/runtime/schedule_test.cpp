#include "runtime/schedule.h"

#include "support/test.h"

using Catch::Approx;
using keel::runtime::learning_rate;
using keel::runtime::ScheduleConfig;

TEST_CASE("schedule: four steps of warm-up, then a cosine to a tenth", "[runtime]") {
  const ScheduleConfig config{.learning_rate = 2, .schedule = keel::runtime::Schedule::cosine, .final_ratio = .1, .warmup_steps = 4};
  CHECK(learning_rate(config, 0, 12) == Approx(.5));
  CHECK(learning_rate(config, 3, 12) == Approx(2));
  CHECK(learning_rate(config, 4, 12) == Approx(2));
  CHECK(learning_rate(config, 8, 12) == Approx(2 * .55));        // half-way: the mean of 1 and 0.1
  CHECK(learning_rate(config, 11, 12) == Approx(2 * .1342542));  // 0.1 + 0.45 (1 + cos(7/8 pi)), cos = -0.9238795
  CHECK(learning_rate(config, 12, 12) == Approx(.2));
  CHECK(learning_rate(config, 99, 12) == Approx(.2));  // never rises again
}

TEST_CASE("schedule: constant after the warm-up", "[runtime]") {
  const ScheduleConfig config{.learning_rate = 1, .schedule = keel::runtime::Schedule::constant, .final_ratio = .1, .warmup_steps = 2};
  CHECK(learning_rate(config, 0, 10) == Approx(.5));
  for (const int64_t step : {1, 2, 9})
    CHECK(learning_rate(config, step, 10) == 1);
}

TEST_CASE("schedule: without warm-up the first step has the peak", "[runtime]") {
  CHECK(learning_rate({.learning_rate = .3, .warmup_steps = 0}, 0, 1) == Approx(.3));
}

TEST_CASE("schedule: a warm-up as long as the run, or longer, never divides by zero", "[runtime]") {
  const ScheduleConfig config{.learning_rate = 1, .warmup_steps = 4};
  CHECK(learning_rate(config, 3, 4) == 1);
  CHECK(learning_rate(config, 4, 4) == Approx(.1));
  CHECK(learning_rate(config, 1, 2) == Approx(.5));
}
