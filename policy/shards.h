// Generating many answers so that a kill loses one shard at most, and reading them back.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "core/types.h"
#include "policy/generate.h"

namespace keel::policy {

struct SamplingTask {
  std::string label;  // for progress, and the purpose of the random draws
  int64_t samples = 1;
  policy::SamplingConfig sampling;
  int64_t batch_rows = 64;  // answers decoded together
  core::Ids stop_ids;
  uint64_t seed = 0;
};

// `samples` answers to each prompt, in order. Finished shards lie in FOLDER/ckpt/<label>/; a second call with equal arguments reads them.
// Shards hold a fixed number of prompts, so that the answers do not depend on where an earlier attempt was interrupted.
std::vector<core::Sample> sample_in_shards(const policy::Llama& model, const std::vector<core::Ids>& prompts, const SamplingTask& task,
                                           const std::filesystem::path& folder);

nlohmann::json to_json(const core::Sample& sample);
core::Sample sample_from_json(const nlohmann::json& row);

}  // namespace keel::policy
