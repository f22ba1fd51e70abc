#include "data/generation_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "core/json.h"
#include "core/log.h"
#include "data/tokenizer_config.h"

namespace keel::data {
namespace {

namespace fs = std::filesystem;

core::Ids read_eos_ids(const nlohmann::json& document, const fs::path& path) {
  if (!document.is_object()) throw core::DataError(path, 0, "must be a JSON object");
  const auto found = document.find("eos_token_id");
  if (found == document.end() || found->is_null()) return {};
  core::Ids ids;
  const nlohmann::json list = found->is_array() ? *found : nlohmann::json::array({*found});
  for (const nlohmann::json& id : list) {
    const bool valid = id.is_number_integer() && id >= 0 && id < kLargestVocabulary;
    if (!valid) throw core::DataError(path, 0, fmt::format("eos_token_id must be an id or a list of ids, got {}", found->dump()));
    ids.push_back(id.get<int64_t>());
  }
  return ids;
}

// Keys without effect in keel: ids, lengths that a command sets itself, ways to compute.
bool is_harmless_setting(const std::string& key) {
  static const std::set<std::string, std::less<>> kHarmless = {
      "transformers_version", "_from_model_config", "use_cache",         "cache_implementation",
      "cache_config",         "max_length",         "max_new_tokens",    "return_dict_in_generate",
      "output_scores",        "output_logits",      "output_attentions", "output_hidden_states",
      "num_return_sequences", "trust_remote_code",  "disable_compile",   "do_sample"};
  return kHarmless.contains(key) || (key.ends_with("_token_id") && !key.starts_with("forced_")) || key.starts_with("assistant_");
}

// The value that means "off" in transformers.
bool is_neutral(const std::string& key, const nlohmann::json& value) {
  if (value.is_null() || value == false || (value.is_structured() && value.empty())) return true;
  if (key == "top_k" || key == "no_repeat_ngram_size" || key == "min_length" || key == "min_new_tokens" || key == "min_p")
    return value == 0;
  return value == 1;  // temperature, top_p, typical_p, repetition_penalty, num_beams ...
}

}  // namespace

core::Ids folder_stops(const fs::path& folder, const Tokenizer& tokenizer) {
  for (const char* name : {"generation_config.json", "config.json"}) {
    const fs::path path = folder / name;
    if (!fs::is_regular_file(path)) continue;
    const nlohmann::json document = core::read_json_file(path);
    const core::Ids ids = read_eos_ids(document, path);
    const bool derived = std::string_view(name) == "config.json" || document.value("_from_model_config", nlohmann::json()) == true;
    core::Ids stops;
    for (const int64_t id : ids) {
      if (id == tokenizer.eos() || std::find(stops.begin(), stops.end(), id) != stops.end()) continue;
      if (tokenizer.is_special(id) || (!derived && id < tokenizer.vocab_size())) {
        stops.push_back(id);
      } else if (!derived) {
        throw core::DataError(path, 0, fmt::format("eos_token_id {} is no id of the tokenizer, 0..{}", id, tokenizer.vocab_size() - 1));
      } else {
        core::log_warn_once(fmt::format("{}: eos_token_id {} is {} and ends no answer; the tokenizer's own EOS does{}", path.string(), id,
                                        id < tokenizer.vocab_size() ? "an ordinary piece of the tokenizer" : "no id of the tokenizer",
                                        tokenizer.eos() ? fmt::format(" ({})", *tokenizer.eos()) : ", but it has none"));
      }
    }
    if (!ids.empty()) return stops;
  }
  return {};
}

void warn_of_sampling_defaults(const fs::path& folder) {
  const fs::path path = folder / "generation_config.json";
  if (!fs::is_regular_file(path)) return;
  std::string unused;
  const nlohmann::json document = core::read_json_file(path);
  for (const auto& [key, value] : document.items())
    if (!is_harmless_setting(key) && !is_neutral(key, value))
      unused += fmt::format("{}{} = {}", unused.empty() ? "" : ", ", key, value.dump());
  if (!unused.empty())
    core::log_warn_once(
        fmt::format("{}: {} not applied: keel samples by its own settings (--temperature, --top-p, ...)", path.string(), unused));
}

}  // namespace keel::data
