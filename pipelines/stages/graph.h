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

#include "core/digest_cache.h"
#include "pipelines/steps/plan.h"
#include "policy/language_model_training.h"

namespace keel::pipelines::stages {

// Every stage of a run in order. `external`: see external_digests().
std::vector<run::Stage> build_stages(const recipe::Recipe& recipe, const std::map<std::string, std::string>& external);

// SHA-256 of what a run reads from outside its folder, by role: "model", "data.helpful", "data.harmless", "people.preferences2"; nothing in
// the sandbox. A missing file or folder keeps its digest in `recorded`; UsageError when there is none.
std::map<std::string, std::string> external_digests(const recipe::Recipe& recipe, core::DigestCache& known,
                                                    const std::map<std::string, std::string>& recorded = {});

// UsageError for a file or folder of external_digests() that does not exist. Reads none of them.
void check_external_files(const recipe::Recipe& recipe);

// The digests of people's files, whose folder may be deleted once its rows are part of a run.
std::map<std::string, std::string> people_digests(std::map<std::string, std::string> recorded);

// ConfigError where batch.validate_every is set though nothing is held out.
void refuse_validate_every(const policy::BatchConfig& batch, const std::string& section);

}  // namespace keel::pipelines::stages
