// The recipe as a graph of stages.
//
//   data -> base -> sft -> comparisons -> preferences -> reward_helpfulness, reward_safety -> rs1 -> ppo -> evaluation -> report
//
// Further versions repeat the middle: prompts2 -> comparisons2 -> preferences2 -> reward_helpfulness2, reward_safety2 -> rs2 ... With real
// data the first pairs come from files (no comparisons, no preferences) and the start checkpoint takes the place of base.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "pipelines/steps/plan.h"

namespace keel::pipelines::stages {

// Every stage of a run in order. `external`: see external_digests() (outside.h).
std::vector<run::Stage> build_stages(const recipe::Recipe& recipe, const std::map<std::string, std::string>& external);

}  // namespace keel::pipelines::stages
