#include "data/tokenizer_config.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json.h"

namespace keel::data {
namespace {

// A token is written as its text, or as an object with its text and matching rules.
void read_token(const nlohmann::json& document, const char* key, const std::string& path, std::optional<std::string>& token) {
  const auto found = document.find(key);
  if (token || found == document.end() || found->is_null()) return;
  const nlohmann::json text = found->is_object() ? found->value("content", nlohmann::json()) : *found;
  if (!text.is_string()) throw core::DataError(path, 0, std::string(key) + " must be a string or an object with a string 'content'");
  token = text.get<std::string>();
}

}  // namespace

TokenizerConfig read_tokenizer_config(const std::filesystem::path& folder) {
  TokenizerConfig config;
  for (const char* name : {"tokenizer_config.json", "special_tokens_map.json"}) {
    const std::filesystem::path path = folder / name;
    if (!std::filesystem::is_regular_file(path)) continue;
    const nlohmann::json document = core::read_json_file(path);
    if (!document.is_object()) throw core::DataError(path.string(), 0, "must be a JSON object");
    read_token(document, "bos_token", path.string(), config.bos);
    read_token(document, "eos_token", path.string(), config.eos);
    read_token(document, "pad_token", path.string(), config.pad);
    const auto add_bos = document.find("add_bos_token");
    if (add_bos == document.end() || add_bos->is_null()) continue;
    if (!add_bos->is_boolean()) throw core::DataError(path.string(), 0, "add_bos_token must be true or false");
    config.add_bos = add_bos->get<bool>();
  }
  return config;
}

}  // namespace keel::data
