// Generating many answers so that a kill loses one shard at most, and reading them back.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "core/types.h"
#include "policy/generate.h"
#include "policy/generator.h"

namespace keel::policy {

// The answers of generate() to `job`, in order. Finished shards lie in FOLDER/ckpt/LABEL/; a second call with equal arguments reads them.
// Shards hold a fixed number of prompts, so that the answers do not depend on where an earlier attempt was interrupted. `label` is for
// progress and the folder; the random draws depend on job.purpose instead, so that two models can use the same draws.
std::vector<core::Sample> generate_in_shards(Generator& generator, const GenerationJob& job, const std::string& label,
                                             const std::filesystem::path& folder);

// The same by a generator of its own.
std::vector<core::Sample> generate_in_shards(const Llama& model, const GenerationJob& job, const std::string& label,
                                             const std::filesystem::path& folder);

nlohmann::json to_json(const core::Sample& sample);
core::Sample sample_from_json(const nlohmann::json& row);

}  // namespace keel::policy
