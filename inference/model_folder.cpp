#include "inference/model_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "core/version.h"
#include "policy/base_model.h"
#include "policy/model_directory.h"
#include "runtime/device.h"

namespace keel::inference {
namespace {

namespace fs = std::filesystem;

std::shared_ptr<const data::Tokenizer> tokenizer_of(const fs::path& folder, int64_t model_vocabulary) {
  auto tokenizer = load_tokenizer(folder);
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

namespace {

policy::Llama read_llama(const fs::path& folder, Weights weights) {
  const bool adapter = policy::is_adapter(folder), shared = weights == Weights::shared;
  const fs::path base = policy::weights_folder(folder);
  policy::Llama llama = shared ? policy::shared_weights(base, policy::Head::language_model)
                               : policy::moved(policy::load_llama(base), runtime::compute_device());
  if (!adapter) return llama;
  llama = policy::load_lora(folder, llama);
  return shared ? llama : policy::merged(llama);
}

reward::RewardModel read_reward_model(const fs::path& folder) {
  if (!policy::is_adapter(folder)) {
    reward::RewardModel model = reward::load_reward_model(folder, policy::Precision::frozen);
    model.backbone = policy::share(folder, model.backbone);
    model.score = model.score.to(runtime::compute_device());
    return model;
  }
  auto loaded = policy::load_lora_classifier(folder, policy::shared_weights(policy::base_of(folder), policy::Head::none));
  return {.backbone = std::move(loaded.backbone), .score = std::move(loaded.score)};
}

}  // namespace

LanguageModel load_language_model(const fs::path& folder, const std::string& chat, Weights weights) {
  LanguageModel model{.llama = read_llama(folder, weights), .tokenizer = nullptr, .limit = {}, .format = chat_format_of(folder, chat)};
  model.tokenizer = tokenizer_of(folder, model.llama.config.vocab_size);
  model.limit = recorded_limit(folder);
  warn_of_sampling_defaults(folder);
  return model;
}

ScoringModel load_scoring_model(const fs::path& folder, const std::string& chat) {
  const reward::RewardModel loaded = read_reward_model(folder);
  ScoringModel model{.weights = loaded,
                     .score = reward::scorer_of(loaded),
                     .shape = loaded.backbone.config,
                     .tokenizer = nullptr,
                     .limit = {},
                     .format = chat_format_of(folder, chat)};
  model.tokenizer = tokenizer_of(folder, model.shape.vocab_size);
  model.limit = recorded_limit(folder);
  return model;
}

RenderPolicy recorded_limit(const fs::path& folder) {
  RenderPolicy limit;
  if (!fs::exists(folder / "keel.json")) return policy::is_adapter(folder) ? recorded_limit(policy::base_of(folder)) : limit;
  const nlohmann::json object = core::read_json_file(folder / "keel.json");
  const auto found = object.find("limit");
  if (found == object.end()) return limit;
  std::vector<std::string> problems;
  core::assign(core::fields_of(limit), *found, "limit", problems);
  if (!problems.empty()) throw core::DataError(folder / "keel.json", 0, problems.front());
  return limit;
}

void write_keel_json(const fs::path& folder, data::ChatFormat format, const nlohmann::json& lineage, const RenderPolicy& limit) {
  const auto weights = folder / (policy::is_adapter(folder) ? "adapter_model.safetensors" : "model.safetensors");
  nlohmann::json object = {{"keel", core::kVersion}, {"digest", core::sha256_file(weights)}, {"lineage", lineage}};
  if (limit.max_tokens > 0 || limit.drop_oldest_turns)
    object["limit"] = {{"max_tokens", limit.max_tokens}, {"drop_oldest_turns", limit.drop_oldest_turns}};
  object.update(data::keel_json_of(format));
  core::write_file(folder / "keel.json", object.dump(2) + "\n");
}

void save_language_model(const fs::path& folder, const policy::Llama& model, const fs::path& tokenizer_from, data::ChatFormat format,
                         const nlohmann::json& lineage, const RenderPolicy& limit) {
  copy_tokenizer(tokenizer_from, folder);
  nlohmann::json extra = policy::causal_model_json();
  extra.update(token_ids(*load_tokenizer(tokenizer_from)));  // with the stops that its config.json alone may name
  policy::save_weights(folder, model.config, policy::parameters(policy::merged(model)), extra);
  write_keel_json(folder, format, lineage, limit);
}

void save_scoring_model(const fs::path& folder, const reward::RewardModel& model, const fs::path& tokenizer_from, data::ChatFormat format,
                        const nlohmann::json& lineage, const RenderPolicy& limit) {
  copy_tokenizer(tokenizer_from, folder);
  reward::save_reward_model({policy::merged(model.backbone), model.score}, folder, unused_id(*data::load_tokenizer(folder)));
  write_keel_json(folder, format, lineage, limit);
}

void save_adapter(const fs::path& folder, const policy::Llama& model, const policy::LoraConfig& lora, data::ChatFormat format,
                  const nlohmann::json& lineage, const RenderPolicy& limit) {
  if (lora.rank == 0) return;
  policy::save_lora(folder, model, lora);
  write_keel_json(folder, std::move(format), lineage, limit);
}

void save_adapter(const fs::path& folder, const reward::RewardModel& model, const policy::LoraConfig& lora, data::ChatFormat format,
                  const nlohmann::json& lineage, const RenderPolicy& limit) {
  if (lora.rank == 0) return;
  policy::save_lora_classifier(folder, {model.backbone, model.score}, lora);
  write_keel_json(folder, std::move(format), lineage, limit);
}

std::string model_digest(const fs::path& folder, core::DigestCache& digests) {
  std::vector<std::string> parts;
  std::vector<std::string> beside = tokenizer_files();
  beside.insert(beside.end(), {"config.json", "keel.json", "adapter_config.json"});
  if (!fs::is_directory(folder)) throw core::UsageError(fmt::format("{} is no model folder", folder.string()));
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename();
    const bool counts =
        name.ends_with(".safetensors") || name.ends_with(".index.json") || std::find(beside.begin(), beside.end(), name) != beside.end();
    if (counts) parts.push_back(name + " " + digests.sha256(entry.path()));
  }
  if (policy::is_adapter(folder)) parts.push_back("base " + model_digest(policy::base_of(folder), digests));
  std::sort(parts.begin(), parts.end());
  std::string all;
  for (const auto& part : parts)
    all += part + "\n";
  return core::sha256(all);
}

}  // namespace keel::inference
