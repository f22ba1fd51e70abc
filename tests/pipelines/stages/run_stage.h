// One stage of a recipe's graph on a test's own folders.
#pragma once

#include <algorithm>
#include <string>

#include "pipelines/stages/graph.h"
#include "support/test_plain.h"

namespace keel::test {

inline void run_stage(const pipelines::recipe::Recipe& recipe, const std::string& name, const pipelines::run::StageContext& context) {
  const auto stages = pipelines::stages::build_stages(recipe, {{"model", ""}, {"data.helpful", ""}, {"data.harmless", ""}});
  const auto stage = std::find_if(stages.begin(), stages.end(), [&](const auto& one) { return one.name == name; });
  REQUIRE(stage != stages.end());
  stage->run(context);
}

}  // namespace keel::test
