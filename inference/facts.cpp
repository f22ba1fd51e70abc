#include "inference/facts.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "core/digest_cache.h"
#include "core/error.h"
#include "core/files.h"
#include "core/gguf.h"
#include "core/json.h"
#include "data/chat_template.h"
#include "data/token_runs.h"
#include "data/tokenizer_gguf.h"
#include "inference/model_folder.h"
#include "inference/reward_models.h"
#include "policy/base_model.h"
#include "policy/checkpoint.h"
#include "policy/import.h"
#include "policy/model_directory.h"

namespace keel::inference {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

json id_json(const data::Tokenizer& tokenizer, int64_t id) {
  return {{"id", id}, {"piece", tokenizer.is_special(id) ? data::special_text(tokenizer, id) : tokenizer.decode({id})}};
}

// "byte-level BPE (tokenizer.json)".
std::string tokenizer_kind(const fs::path& path) {
  fs::path file = path;
  if (fs::is_directory(path)) file = fs::exists(path / "tokenizer.json") ? path / "tokenizer.json" : path / "tokenizer.model";
  const bool gguf = core::MappedFile(file).bytes().starts_with("GGUF");
  std::string kind = "SentencePiece";
  if (gguf) {
    if (!data::is_sentencepiece(core::GgufFile(file))) kind = "byte-level BPE";
  } else if (file.extension() == ".json") {
    const std::string text = core::read_json_file(file).dump();
    kind = text.find("\"type\":\"ByteLevel\"") != std::string::npos ? "byte-level BPE" : "BPE with byte fallback";
  }
  return fmt::format("{} ({})", kind, gguf ? "GGUF" : file.filename().string());
}

json tokenizer_json(const fs::path& path, const data::Tokenizer& tokenizer) {
  json object = {{"kind", tokenizer_kind(path)}, {"ids", tokenizer.vocab_size()}, {"adds_bos", tokenizer.adds_bos()}};
  for (const auto& [name, id] : {std::pair("bos", tokenizer.bos()), {"eos", tokenizer.eos()}, {"pad", tokenizer.pad()}})
    if (id) object[name] = id_json(tokenizer, *id);
  return object;
}

// Where chat_format_of() takes the format from.
std::string format_source(const fs::path& path, const std::string& chat) {
  if (!chat.empty()) return "--chat";
  if (fs::exists(path / "keel.json")) return "keel.json";
  const auto found = data::find_chat_template(path);
  if (!found) return "there is no keel.json and no chat template";
  return (found->text.empty() ? "an empty chat template, " : "the chat template, ") + found->origin;
}

json format_json(const fs::path& path, const std::string& chat, const data::ChatFormat& format, const data::Tokenizer& tokenizer) {
  json object = {{"name", data::describe(format)}, {"from", format_source(path, chat)}, {"stops", json::array()}};
  try {
    if (format != data::ChatFormat::none || tokenizer.eos() || !tokenizer.stops().empty())
      for (const int64_t id : data::stop_ids(format, tokenizer))
        object["stops"].push_back(id_json(tokenizer, id));
    data::check_renderable(format, tokenizer);
  } catch (const core::UsageError& problem) {
    object["problem"] = problem.what();
  }
  return object;
}

void add_text_(json& facts, const fs::path& path, const std::string& chat) {
  const auto tokenizer = data::load_tokenizer(path);
  facts["tokenizer"] = tokenizer_json(path, *tokenizer);
  facts["chat_format"] = format_json(path, chat, data::chat_format_of(path, chat), *tokenizer);
  if (facts.contains("shape") && tokenizer->vocab_size() > facts["shape"]["vocab_size"].get<int64_t>())
    facts["problems"].push_back(
        fmt::format("its tokenizer has {} ids, its model takes {}", tokenizer->vocab_size(), facts["shape"]["vocab_size"].get<int64_t>()));
}

void add_checkpoint_(json& facts, policy::Checkpoint checkpoint) {
  facts["shape"] = core::json_of(checkpoint.config);
  facts["shape"]["head_dim"] = checkpoint.config.head_size();
  facts["parameters"] = checkpoint.parameters;
  facts["dtypes"] = checkpoint.dtypes;
  facts["bytes"] = checkpoint.bytes;
  facts["problems"] = checkpoint.problems;
}

void add_record_(json& facts, const fs::path& folder) {
  core::DigestCache digests;
  facts["digest"] = model_digest(folder, digests);
  if (!fs::exists(folder / "keel.json")) return;
  const json object = core::read_json_file(folder / "keel.json");
  facts["written_by"] = object.value("keel", json());
  facts["lineage"] = object.value("lineage", json());
  facts["recorded_digest"] = object.value("digest", json());
  if (fs::exists(folder / "model.safetensors")) facts["weights_digest"] = digests.sha256(folder / "model.safetensors");
  if (object.contains("limit")) facts["limit"] = object["limit"];
}

json folder_facts(const fs::path& folder, const std::string& chat) {
  const policy::Checkpoint checkpoint = policy::describe_folder(folder);
  json facts = {{"kind", "language model"}};
  if (checkpoint.scalar_head) {
    const std::string kind = trained_for(folder);
    facts["kind"] = kind == "refusal" ? "classifier of refusals" : kind.empty() ? "reward model" : kind + " reward model";
    if (fs::exists(folder / "evaluation.json"))
      if (const json evaluation = core::read_json_file(folder / "evaluation.json"); evaluation.contains("accuracy"))
        facts["accuracy"] = evaluation["accuracy"];
  }
  add_checkpoint_(facts, checkpoint);
  if (tokenizer_digest(folder).empty())
    facts["problems"].push_back("it has no tokenizer.json and no tokenizer.model: fetch the tokenizer of the same model too");
  else
    add_text_(facts, folder, chat);
  add_record_(facts, folder);
  return facts;
}

json adapter_facts(const fs::path& folder) {
  const policy::AdapterCheckpoint adapter = policy::describe_adapter(folder);
  return {{"kind", "PEFT adapter (LoRA)"},
          {"base", adapter.base},
          {"task", adapter.task},
          {"rank", adapter.rank},
          {"alpha", adapter.alpha},
          {"target_modules", adapter.modules},
          {"parameters", adapter.parameters},
          {"dtypes", adapter.dtypes},
          {"bytes", adapter.bytes},
          {"digest", core::sha256_file(folder / "adapter_model.safetensors")}};
}

}  // namespace

PathKind path_kind(const fs::path& path) {
  if (fs::is_directory(path)) {
    if (fs::exists(path / "adapter_config.json") && !fs::exists(path / "config.json")) return PathKind::adapter;
    if (fs::exists(path / "config.json")) return PathKind::model_folder;
    return fs::exists(path / "tokenizer.json") || fs::exists(path / "tokenizer.model") ? PathKind::tokenizer : PathKind::other;
  }
  if (!fs::is_regular_file(path)) return PathKind::other;
  const core::MappedFile file(path);
  if (file.bytes().starts_with("GGUF")) return PathKind::gguf;
  if (path.extension() == ".bin") return PathKind::llama2c;
  const bool vocabulary = path.extension() == ".model" || path.filename().string().ends_with("tokenizer.json");
  return vocabulary ? PathKind::tokenizer : PathKind::other;
}

json facts_of(const fs::path& path, const std::string& chat) {
  json facts;
  switch (path_kind(path)) {
    case PathKind::model_folder:
      return folder_facts(path, chat);
    case PathKind::adapter:
      return adapter_facts(path);
    case PathKind::gguf:
      facts = {{"kind", "GGUF file of a language model"}};
      add_checkpoint_(facts, policy::describe_gguf(path));
      add_text_(facts, path, chat);
      facts["digest"] = core::sha256_file(path);
      return facts;
    case PathKind::llama2c:
      facts = {{"kind", "llama2.c file of a language model, without a tokenizer"}};
      add_checkpoint_(facts, policy::describe_llama2c(path));
      facts["digest"] = core::sha256_file(path);
      return facts;
    case PathKind::tokenizer:
      facts = {{"kind", "tokenizer"}};
      add_text_(facts, path, chat);
      return facts;
    case PathKind::other:
      break;
  }
  throw core::UsageError(fmt::format("{} is no model and no tokenizer", path.string()));
}

TextParts text_parts(const fs::path& path, const std::string& chat) {
  const PathKind kind = path_kind(path);
  if (kind == PathKind::llama2c)
    throw core::UsageError(fmt::format("{} holds no tokenizer: name a model folder, a GGUF file or a tokenizer", path.string()));
  TextParts parts{.tokenizer = load_tokenizer(path), .format = chat_format_of(path, chat), .context = 0};
  if (kind == PathKind::model_folder) parts.context = policy::read_config(path).max_position_embeddings;
  if (kind == PathKind::adapter) parts.context = policy::read_config(policy::base_of(path)).max_position_embeddings;
  if (kind == PathKind::gguf) parts.context = policy::gguf_config(core::GgufFile(path)).max_position_embeddings;
  return parts;
}

}  // namespace keel::inference
