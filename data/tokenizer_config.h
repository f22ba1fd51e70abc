// What tokenizer_config.json (and special_tokens_map.json) of a Hugging Face folder say beside the vocabulary itself.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

namespace keel::data {

struct TokenizerConfig {
  std::optional<bool> add_bos = {};
  std::optional<std::string> bos = {}, eos = {}, pad = {};  // texts of the tokens
};

// Of one document; what it does not say is left unset. Throws DataError, naming `origin`, for members of a wrong type.
TokenizerConfig parse_tokenizer_config(const nlohmann::json& document, const std::string& origin);

// Reads what is there; a missing file leaves everything unset.
TokenizerConfig read_tokenizer_config(const std::filesystem::path& folder);

}  // namespace keel::data
