// tokenizer.json of Hugging Face tokenizers, model BPE.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "data/tokenizer.h"
#include "data/tokenizer_config.h"

namespace keel::data {

// BOS is put before raw text where the config says so, or, when it is silent, where the post-processor's template begins with a special
// token. `origin` names the file in errors. Throws DataError for a document that is not such a tokenizer, and for parts that keel does not
// support, by name.
std::unique_ptr<Tokenizer> tokenizer_from_json(const nlohmann::json& document, const TokenizerConfig& config, const std::string& origin);

}  // namespace keel::data
