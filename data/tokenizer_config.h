// What tokenizer_config.json (and special_tokens_map.json) of a Hugging Face folder say beside the vocabulary itself.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace keel::data {

struct TokenizerConfig {
  std::optional<bool> add_bos;
  std::optional<std::string> bos, eos, pad;  // texts of the tokens
};

// Reads what is there; a missing file leaves everything unset. Throws DataError for members of a wrong type.
TokenizerConfig read_tokenizer_config(const std::filesystem::path& folder);

}  // namespace keel::data
