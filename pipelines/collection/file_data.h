// The data stages of a run on a team's own files, as later versions read them.
#pragma once

namespace keel::pipelines::collection {

// Prompts of a batch on both sides of the split, in a random order, harmless ones first: later versions draw from V1's where they have none
// of their own.
inline constexpr const char* kPromptsForTraining = "pool_train.jsonl";
inline constexpr const char* kPromptsForTesting = "pool_test.jsonl";

// Subfolder of the first batch: pairs that train and test the gold reward models alone.
inline constexpr const char* kGold = "gold";

}  // namespace keel::pipelines::collection
