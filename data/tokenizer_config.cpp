#include "data/tokenizer_config.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json.h"

namespace keel::data {
namespace {

// A token is written as its text, or as an object with its text and matching rules.
std::optional<std::string> read_token(const nlohmann::json& document, const char* key, const std::string& origin) {
  const auto found = document.find(key);
  if (found == document.end() || found->is_null()) return std::nullopt;
  const nlohmann::json text = found->is_object() ? found->value("content", nlohmann::json()) : *found;
  if (!text.is_string()) throw core::DataError(origin, 0, std::string(key) + " must be a string or an object with a string 'content'");
  return text.get<std::string>();
}

}  // namespace

TokenizerConfig parse_tokenizer_config(const nlohmann::json& document, const std::string& origin) {
  if (!document.is_object()) throw core::DataError(origin, 0, "must be a JSON object");
  TokenizerConfig config;
  config.bos = read_token(document, "bos_token", origin);
  config.eos = read_token(document, "eos_token", origin);
  config.pad = read_token(document, "pad_token", origin);
  const auto add_bos = document.find("add_bos_token");
  if (add_bos == document.end() || add_bos->is_null()) return config;
  if (!add_bos->is_boolean()) throw core::DataError(origin, 0, "add_bos_token must be true or false");
  config.add_bos = add_bos->get<bool>();
  return config;
}

TokenizerConfig read_tokenizer_config(const std::filesystem::path& folder) {
  TokenizerConfig config;
  for (const char* name : {"tokenizer_config.json", "special_tokens_map.json"}) {
    const std::filesystem::path path = folder / name;
    if (!std::filesystem::is_regular_file(path)) continue;
    const TokenizerConfig read = parse_tokenizer_config(core::read_json_file(path), path.string());
    if (!config.add_bos) config.add_bos = read.add_bos;
    if (!config.bos) config.bos = read.bos;
    if (!config.eos) config.eos = read.eos;
    if (!config.pad) config.pad = read.pad;
  }
  return config;
}

}  // namespace keel::data
