// What the files beside a vocabulary say about it: tokenizer_config.json, special_tokens_map.json and added_tokens.json of a Hugging Face
// folder. Every key of them is used, known to change nothing here, or named in a warning.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

namespace keel::data {

constexpr int64_t kLargestVocabulary = 1 << 22;  // ids are refused from here on: one wrong id must not cost gigabytes

// A token beside the pieces of a model.
struct AddedToken {
  std::string text;
  int64_t id = 0;
  bool special = false;     // never found in text
  bool normalized = false;  // looked for after normalisation instead of before
  bool trims = false;       // lstrip, rstrip or single_word: takes the blanks around it, or depends on its neighbours
};

// One item of "added_tokens" or "added_tokens_decoder", without its id. nlohmann::json::exception for members of a wrong type.
AddedToken parse_added_token(const nlohmann::json& item, int64_t id);

struct TokenizerConfig {
  std::optional<bool> add_bos = {};
  std::optional<std::string> bos = {}, eos = {}, pad = {};  // texts of the tokens
  std::optional<bool> add_prefix_space = {};
  std::optional<bool> legacy = {};        // false: text behind a special token gets no blank in front (SentencePiece)
  std::vector<std::string> special = {};  // further special tokens: additional_special_tokens and similar keys
  std::vector<AddedToken> added = {};     // added_tokens_decoder and added_tokens.json, by id
  std::string origin = {};                // the files, for errors
};

// The fields of one document; missing ones stay unset. Throws DataError, naming `origin`, for members of a wrong type.
TokenizerConfig parse_tokenizer_config(const nlohmann::json& document, const std::string& origin);

// Reads the files that exist; fields of missing files stay unset. Where two files name different tokens, tokenizer_config.json wins.
TokenizerConfig read_tokenizer_config(const std::filesystem::path& folder);

// What makes ids beside the vocabulary, as text: added tokens and blanks. Folders with one vocabulary and the same rules give the same ids.
std::string id_rules(const TokenizerConfig& config);

// DataError for a BOS or EOS that `is_token` does not know: any other token in its place would begin or end texts wrongly. Other names
// are warned about. `vocabulary` names the file that holds the tokens.
void check_named_tokens(const TokenizerConfig& config, const std::string& vocabulary,
                        const std::function<bool(const std::string&)>& is_token);

}  // namespace keel::data
