#include "data/tokenizer_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "core/json.h"
#include "core/log.h"

namespace keel::data {
namespace {

// A token is written as its text, or as an object with its text and matching rules.
std::optional<std::string> token_text(const nlohmann::json& value, const std::string& key, const std::string& origin) {
  if (value.is_null()) return std::nullopt;
  const nlohmann::json text = value.is_object() ? value.value("content", nlohmann::json()) : value;
  if (!text.is_string()) throw core::DataError(origin, 0, key + " must be a string or an object with a string 'content'");
  if (text.get_ref<const std::string&>().empty()) return std::nullopt;
  return text.get<std::string>();
}

std::optional<std::string> read_token(const nlohmann::json& document, const char* key, const std::string& origin) {
  const auto found = document.find(key);
  return found == document.end() ? std::nullopt : token_text(*found, key, origin);
}

std::optional<bool> read_flag(const nlohmann::json& document, const char* key, const std::string& origin) {
  const auto found = document.find(key);
  if (found == document.end() || found->is_null()) return std::nullopt;
  if (!found->is_boolean()) throw core::DataError(origin, 0, std::string(key) + " must be true or false");
  return found->get<bool>();
}

// A list of tokens, or an object of name to token (as transformers 5 writes model-specific ones).
void read_special_list(const nlohmann::json& document, const char* key, const std::string& origin, TokenizerConfig& config) {
  const auto found = document.find(key);
  if (found == document.end() || found->is_null()) return;
  if (!found->is_structured()) throw core::DataError(origin, 0, std::string(key) + " must be a list of tokens");
  for (const auto& value : *found)
    if (const auto text = token_text(value, key, origin)) config.special.push_back(*text);
}

// Tags of chat templates: text must never become one, whatever the files say.
bool is_tag(const std::string& text) {
  return text.starts_with("<|") && text.ends_with("|>");
}

void add_token_(TokenizerConfig& config, AddedToken token, const std::string& origin) {
  for (AddedToken& other : config.added) {
    if (other.id == token.id && other.text == token.text) {
      other.special = other.special || token.special;
      return;
    }
    if (other.id == token.id || other.text == token.text)
      throw core::DataError(origin, 0,
                            fmt::format("'{}' has the id {} here, '{}' has {} before it: an id is one token's, and a token has one id",
                                        token.text, token.id, other.text, other.id));
  }
  config.added.push_back(std::move(token));
}

void read_added_decoder(const nlohmann::json& document, const std::string& origin, TokenizerConfig& config) {
  const auto found = document.find("added_tokens_decoder");
  if (found == document.end() || found->is_null()) return;
  if (!found->is_object()) throw core::DataError(origin, 0, "added_tokens_decoder must be an object of id to token");
  for (const auto& [key, item] : found->items()) {
    int64_t id = -1;
    const auto [end, problem] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (problem != std::errc() || end != key.data() + key.size() || id < 0 || id >= kLargestVocabulary)
      throw core::DataError(origin, 0, fmt::format("added_tokens_decoder: ids must be 0..{}, got '{}'", kLargestVocabulary - 1, key));
    try {
      add_token_(config, parse_added_token(item, id), origin);
    } catch (const nlohmann::json::exception& error) {
      throw core::DataError(origin, 0, fmt::format("added_tokens_decoder['{}'] has a wrong form: {}", key, error.what()));
    }
  }
}

void read_added_tokens_file(const std::filesystem::path& path, TokenizerConfig& config) {
  const nlohmann::json document = core::read_json_file(path);
  if (!document.is_object()) throw core::DataError(path, 0, "must be an object of token to id");
  for (const auto& [text, id] : document.items()) {
    const bool valid = id.is_number_integer() && id >= 0 && id < kLargestVocabulary;
    if (!valid) throw core::DataError(path, 0, fmt::format("ids must be 0..{}, '{}' has {}", kLargestVocabulary - 1, text, id.dump()));
    add_token_(config, {.text = text, .id = id.get<int64_t>()}, path);
  }
}

// Keys that change neither ids nor stops nor templates here: names of classes and files, limits and sides of padding that only
// transformers applies, clean-up of decoded text. The template is read by data/chat_template.h.
bool is_harmless_key(const std::string& key) {
  static const std::set<std::string, std::less<>> kHarmless = {"tokenizer_class",
                                                               "processor_class",
                                                               "backend",
                                                               "name_or_path",
                                                               "tokenizer_file",
                                                               "special_tokens_map_file",
                                                               "model_max_length",
                                                               "max_length",
                                                               "max_len",
                                                               "model_input_names",
                                                               "padding_side",
                                                               "truncation_side",
                                                               "pad_to_multiple_of",
                                                               "pad_token_type_id",
                                                               "stride",
                                                               "truncation_strategy",
                                                               "clean_up_tokenization_spaces",
                                                               "spaces_between_special_tokens",
                                                               "split_special_tokens",
                                                               "chat_template",
                                                               "is_local",
                                                               "local_files_only",
                                                               "from_slow",
                                                               "device_map",
                                                               "trust_remote_code",
                                                               "use_fast",
                                                               "errors",
                                                               "vocab_size",
                                                               "fix_mistral_regex",
                                                               "transformers_version",
                                                               "mask_token",
                                                               "cls_token",
                                                               "sep_token",
                                                               "unk_token"};
  return kHarmless.contains(key) || key.ends_with("_token_id");
}

bool is_used(const std::string& key) {
  static const std::set<std::string, std::less<>> kUsed = {"add_bos_token",
                                                           "add_eos_token",
                                                           "add_prefix_space",
                                                           "legacy",
                                                           "bos_token",
                                                           "eos_token",
                                                           "pad_token",
                                                           "additional_special_tokens",
                                                           "extra_special_tokens",
                                                           "model_specific_special_tokens",
                                                           "added_tokens_decoder"};
  return kUsed.contains(key);
}

// null, false, 0, "" and empty lists have no effect.
bool asks_for_nothing(const nlohmann::json& value) {
  if (value.is_string()) return value.get_ref<const std::string&>().empty();
  return value.is_null() || value == false || value == 0 || (value.is_structured() && value.empty());
}

void warn_of_unknown_keys(const nlohmann::json& document, const std::string& origin) {
  for (const auto& [key, value] : document.items()) {
    if (is_used(key) || is_harmless_key(key) || asks_for_nothing(value)) continue;
    if (value.is_string() && key.ends_with("_token")) continue;  // a name for one of the added tokens
    std::string shown = value.dump();
    if (shown.size() > 60) shown = shown.substr(0, 60) + "...";
    core::log_warn_once(
        fmt::format("{}: {} = {} is not known to keel and not applied; take it out if it means nothing", origin, key, shown));
  }
}

void set_once(std::optional<std::string>& kept, const std::optional<std::string>& other, const char* key, const std::string& origin) {
  if (!kept) {
    kept = other;
  } else if (other && *other != *kept) {
    core::log_warn_once(
        fmt::format("{}: {} is '{}', but tokenizer_config.json says '{}', which is used; correct one of them", origin, key, *other, *kept));
  }
}

}  // namespace

AddedToken parse_added_token(const nlohmann::json& item, int64_t id) {
  return {.text = item.at("content").get<std::string>(),
          .id = id,
          .special = item.value("special", false),
          .normalized = item.value("normalized", false),
          .trims = item.value("lstrip", false) || item.value("rstrip", false) || item.value("single_word", false)};
}

TokenizerConfig parse_tokenizer_config(const nlohmann::json& document, const std::string& origin) {
  if (!document.is_object()) throw core::DataError(origin, 0, "must be a JSON object");
  TokenizerConfig config;
  config.origin = origin;
  config.bos = read_token(document, "bos_token", origin);
  config.eos = read_token(document, "eos_token", origin);
  config.pad = read_token(document, "pad_token", origin);
  config.add_bos = read_flag(document, "add_bos_token", origin);
  config.add_prefix_space = read_flag(document, "add_prefix_space", origin);
  config.legacy = read_flag(document, "legacy", origin);
  for (const char* key : {"additional_special_tokens", "extra_special_tokens", "model_specific_special_tokens"})
    read_special_list(document, key, origin, config);
  read_added_decoder(document, origin, config);
  if (read_flag(document, "add_eos_token", origin).value_or(false))
    core::log_warn_once(
        fmt::format("{}: add_eos_token = true is not applied: raw text gets no EOS, documents and answers always end with it", origin));
  warn_of_unknown_keys(document, origin);
  return config;
}

TokenizerConfig read_tokenizer_config(const std::filesystem::path& folder) {
  TokenizerConfig config;
  for (const char* name : {"tokenizer_config.json", "special_tokens_map.json"}) {
    const std::filesystem::path path = folder / name;
    if (!std::filesystem::is_regular_file(path)) continue;
    TokenizerConfig read = parse_tokenizer_config(core::read_json_file(path), path.string());
    config.origin += (config.origin.empty() ? "" : " or ") + path.string();
    if (!config.add_bos) config.add_bos = read.add_bos;
    if (!config.add_prefix_space) config.add_prefix_space = read.add_prefix_space;
    if (!config.legacy) config.legacy = read.legacy;
    set_once(config.bos, read.bos, "bos_token", path.string());
    set_once(config.eos, read.eos, "eos_token", path.string());
    set_once(config.pad, read.pad, "pad_token", path.string());
    config.special.insert(config.special.end(), read.special.begin(), read.special.end());
    for (AddedToken& token : read.added)
      add_token_(config, std::move(token), path.string());
  }
  if (const auto path = folder / "added_tokens.json"; std::filesystem::is_regular_file(path)) read_added_tokens_file(path, config);
  const auto is_named = [&](const std::string& text) {
    return text == config.bos || text == config.eos || text == config.pad ||
           std::find(config.special.begin(), config.special.end(), text) != config.special.end();
  };
  for (AddedToken& token : config.added)
    token.special = token.special || is_named(token.text) || is_tag(token.text);
  std::sort(config.added.begin(), config.added.end(), [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
  return config;
}

std::string id_rules(const TokenizerConfig& config) {
  nlohmann::json added = nlohmann::json::array();
  for (const AddedToken& token : config.added)
    added.push_back({token.id, token.text});
  return core::dump_json({{"legacy", config.legacy.value_or(true)},
                          {"add_prefix_space", config.add_prefix_space.value_or(true)},
                          {"add_bos", config.add_bos.value_or(true)},
                          {"bos", config.bos.value_or("")},
                          {"eos", config.eos.value_or("")},
                          {"added", added}});
}

void check_named_tokens(const TokenizerConfig& config, const std::string& vocabulary,
                        const std::function<bool(const std::string&)>& is_token) {
  for (const auto& [key, text] : {std::pair{"bos_token", config.bos}, std::pair{"eos_token", config.eos}})
    if (text && !is_token(*text))
      throw core::DataError(
          config.origin, 0,
          fmt::format("{} is '{}', which is no token of {}: give its id in added_tokens.json (or added_tokens_decoder), or name another",
                      key, *text, vocabulary));
  const auto warn = [&](const char* what, const std::string& text) {
    if (!is_token(text))
      core::log_warn_once(fmt::format("{}: {} '{}' is no token of {}: it is left out", config.origin, what, text, vocabulary));
  };
  if (config.pad) warn("pad_token", *config.pad);
  for (const std::string& text : config.special)
    warn("the special token", text);
}

}  // namespace keel::data
