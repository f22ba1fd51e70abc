#include "evaluation/assemble.h"

#include "support/test.h"

namespace keel::evaluation {
namespace {

MeasuredModel seen_by(const std::string& name, double helpfulness, double safety, double general) {
  const auto exactly = [](double value) { return statistics::Interval{value, value, value}; };
  return {
      .name = name,
      .measures = {{"reward_helpfulness", exactly(helpfulness)}, {"reward_safety", exactly(safety)}, {"reward_general", exactly(general)}},
      .counts = {}};
}

}  // namespace

TEST_CASE("the guard: a model drifts where both that choose rise and the general one does not", "[evaluation]") {
  const auto sft = seen_by("sft", .5, .6, .5);
  CHECK(drifting_models({}).empty());
  CHECK(drifting_models({sft}).empty());
  CHECK(drifting_models({sft, seen_by("all", .7, .7, .6), seen_by("two", .7, .7, .4), seen_by("one", .7, .6, .4),
                         seen_by("none", .5, .5, .4), seen_by("still", .7, .7, .5)}) == std::vector<std::string>{"two", "still"});
}

}  // namespace keel::evaluation
