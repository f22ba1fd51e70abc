// The data stage of a run on real preference files, as later versions read it.
#pragma once

#include <nlohmann/json.hpp>

#include "core/types.h"

namespace keel::pipelines::collection {

// Prompts of all training pairs, also of those that max_pairs keeps from the reward models: later versions draw from them.
inline constexpr const char* kUncapped = "_prompts.jsonl";

// {"messages", "hazard"} and, where the pair has one, "source".
nlohmann::json row_of_prompt(const core::PreferencePair& pair, bool hazard);

}  // namespace keel::pipelines::collection
