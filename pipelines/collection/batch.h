// One batch of comparisons (Llama 2 paper, 3.2.1): names shared by the stage that makes it and the stage that annotates it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/types.h"
#include "pipelines/recipe/data.h"

namespace keel::pipelines::collection {

// Kinds of comparisons in a batch: helpfulness, safety, and public_pairs in V1 where there are any.
std::vector<recipe::SourceKind> kinds_of(bool with_public);

// Purpose of a random draw of version N. V1 has the plain names, so that adding versions does not change it.
std::string purpose_of(int64_t version, const std::string& rest);

// Whether the held-out pairs on a prompt choose between a retrained reward model and its predecessor (half of the conversations do, from V2
// on) rather than stand in the reported figures.
bool chooses_reward_model(const core::Dialogue& prompt, uint64_t seed);

inline constexpr const char* kForPeople = "for_people.jsonl";  // what people fill in

}  // namespace keel::pipelines::collection
