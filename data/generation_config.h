// What a model folder says about generation: generation_config.json, or config.json where there is none.
#pragma once

#include <filesystem>

#include "core/types.h"
#include "data/tokenizer.h"

namespace keel::data {

// Ids that end an answer besides the tokenizer's EOS: "eos_token_id", a number or a list. Those that config.json names (where
// transformers may have written a default) count only if they are special tokens; others are warned about. DataError for ids that the
// tokenizer does not have and for members of a wrong type.
core::Ids folder_stops(const std::filesystem::path& folder, const Tokenizer& tokenizer);

// Warns about sampling settings in generation_config.json: keel samples by its own.
void warn_of_sampling_defaults(const std::filesystem::path& folder);

}  // namespace keel::data
