#include "inference/model_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "core/version.h"
#include "data/generation_config.h"
#include "data/tokenizer_config.h"
#include "data/tokenizer_export.h"
#include "policy/model_directory.h"

namespace keel::inference {
namespace {

namespace fs = std::filesystem;

// The vocabulary, and files beside it that change ids, stops or templates.
std::vector<std::string> tokenizer_files() {
  std::vector<std::string> names = data::tokenizer_companions();
  names.insert(names.begin(), {"tokenizer.model", "tokenizer.json"});
  return names;
}

std::shared_ptr<const data::Tokenizer> tokenizer_of(const fs::path& folder, int64_t model_vocabulary) {
  std::shared_ptr<const data::Tokenizer> tokenizer = data::load_tokenizer(folder);
  if (tokenizer->vocab_size() > model_vocabulary)
    throw core::DataError(folder, 0,
                          fmt::format("its tokenizer has {} ids, its model takes {}: they do not belong together", tokenizer->vocab_size(),
                                      model_vocabulary));
  return tokenizer;
}

// The beginning and end ids that Hugging Face's config.json names.
nlohmann::json token_ids(const data::Tokenizer& tokenizer) {
  nlohmann::json ids = nlohmann::json::object();
  if (tokenizer.bos()) ids["bos_token_id"] = *tokenizer.bos();
  if (tokenizer.eos()) ids["eos_token_id"] = *tokenizer.eos();
  if (tokenizer.eos() && !tokenizer.stops().empty()) ids["eos_token_id"] = core::joined({*tokenizer.eos()}, tokenizer.stops());
  return ids;
}

// A pad id that ends no text: transformers scores the last token that is not padding, which then is the token that keel scores.
int64_t unused_id(const data::Tokenizer& tokenizer) {
  if (tokenizer.pad() && tokenizer.pad() != tokenizer.eos()) return *tokenizer.pad();
  for (const char* name : {"<pad>", "<|pad|>", "<unk>", "<|endoftext|>", "<|im_start|>"})
    if (const auto id = tokenizer.special(name); id && id != tokenizer.eos()) return *id;
  if (tokenizer.bos() && tokenizer.bos() != tokenizer.eos()) return *tokenizer.bos();
  throw core::UsageError("the tokenizer has no special id to pad with (pad, unk or bos, other than eos): a reward model needs one");
}

}  // namespace

LanguageModel load_language_model(const fs::path& folder, const std::string& chat) {
  LanguageModel model{.llama = policy::load_llama(folder), .tokenizer = nullptr, .limit = {}, .format = data::chat_format_of(folder, chat)};
  model.tokenizer = tokenizer_of(folder, model.llama.config.vocab_size);
  model.limit = recorded_limit(folder);
  data::warn_of_sampling_defaults(folder);
  return model;
}

ScoringModel load_scoring_model(const fs::path& folder, const std::string& chat) {
  const reward::RewardModel loaded = reward::load_reward_model(folder);
  ScoringModel model{.weights = loaded,
                     .score = reward::scorer_of(loaded),
                     .shape = loaded.backbone.config,
                     .tokenizer = nullptr,
                     .limit = {},
                     .format = data::chat_format_of(folder, chat)};
  model.tokenizer = tokenizer_of(folder, model.shape.vocab_size);
  model.limit = recorded_limit(folder);
  return model;
}

RenderPolicy recorded_limit(const fs::path& folder) {
  RenderPolicy limit;
  if (!fs::exists(folder / "keel.json")) return limit;
  const nlohmann::json object = core::read_json_file(folder / "keel.json");
  const auto found = object.find("limit");
  if (found == object.end()) return limit;
  std::vector<std::string> problems;
  core::assign(core::fields_of(limit), *found, "limit", problems);
  if (!problems.empty()) throw core::DataError(folder / "keel.json", 0, problems.front());
  return limit;
}

void require_same_tokenizer(const fs::path& folder, const fs::path& other) {
  const std::string digest = tokenizer_digest(folder);
  if (!digest.empty() && digest == tokenizer_digest(other)) return;
  throw core::DataError(
      folder, 0,
      fmt::format("has another tokenizer than {}: ids of one mean nothing to the other; train it from that model", other.string()));
}

void require_same_text(const fs::path& folder, const fs::path& other) {
  require_same_tokenizer(folder, other);
  const auto own = data::chat_format_of(folder), others = data::chat_format_of(other);
  if (own != others)
    throw core::DataError(folder, 0,
                          fmt::format("reads the chat format {}, but {} writes {}: its scores would be of other text than it learned",
                                      data::describe(own), other.string(), data::describe(others)));
}

std::string tokenizer_digest(const fs::path& folder) {
  for (const char* name : {"tokenizer.json", "tokenizer.model"})  // the first existing file decides, as in load_tokenizer()
    if (fs::exists(folder / name))
      return core::sha256(core::sha256_file(folder / name) + data::id_rules(data::read_tokenizer_config(folder)));
  return {};
}

void copy_tokenizer(const fs::path& from, const fs::path& to) {
  core::make_directories(to);
  for (const std::string& name : tokenizer_files())
    if (fs::exists(from / name) && !fs::exists(to / name)) core::write_file(to / name, core::read_file(from / name));
}

void write_keel_json(const fs::path& folder, data::ChatFormat format, const nlohmann::json& lineage, const RenderPolicy& limit) {
  nlohmann::json object = {{"keel", core::kVersion}, {"digest", core::sha256_file(folder / "model.safetensors")}, {"lineage", lineage}};
  if (limit.max_tokens > 0 || limit.drop_oldest_turns)
    object["limit"] = {{"max_tokens", limit.max_tokens}, {"drop_oldest_turns", limit.drop_oldest_turns}};
  object.update(data::keel_json_of(format));
  core::write_file(folder / "keel.json", object.dump(2) + "\n");
}

void save_language_model(const fs::path& folder, const policy::Llama& llama, const fs::path& tokenizer_from, data::ChatFormat format,
                         const nlohmann::json& lineage, const RenderPolicy& limit) {
  copy_tokenizer(tokenizer_from, folder);
  nlohmann::json extra = policy::causal_model_json();
  extra.update(token_ids(*data::load_tokenizer(tokenizer_from)));  // with the stops that its config.json alone may name
  policy::save_weights(folder, llama.config, policy::parameters(llama), extra);
  write_keel_json(folder, format, lineage, limit);
}

void save_scoring_model(const fs::path& folder, const reward::RewardModel& model, const fs::path& tokenizer_from, data::ChatFormat format,
                        const nlohmann::json& lineage, const RenderPolicy& limit) {
  copy_tokenizer(tokenizer_from, folder);
  reward::save_reward_model(model, folder, unused_id(*data::load_tokenizer(folder)));
  write_keel_json(folder, format, lineage, limit);
}

std::string model_digest(const fs::path& folder, core::DigestCache& digests) {
  std::vector<std::string> parts;
  const std::vector<std::string> beside = tokenizer_files();
  if (!fs::is_directory(folder)) throw core::UsageError(fmt::format("{} is no model folder", folder.string()));
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename();
    const bool counts = name == "config.json" || name == "keel.json" || name.ends_with(".safetensors") || name.ends_with(".index.json") ||
                        std::find(beside.begin(), beside.end(), name) != beside.end();
    if (counts) parts.push_back(name + " " + digests.sha256(entry.path()));
  }
  std::sort(parts.begin(), parts.end());
  std::string all;
  for (const auto& part : parts)
    all += part + "\n";
  return core::sha256(all);
}

}  // namespace keel::inference
