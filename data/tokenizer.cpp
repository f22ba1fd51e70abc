#include "data/tokenizer.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <vector>

#include "core/error.h"
#include "core/file_kind.h"
#include "core/files.h"
#include "core/gguf.h"
#include "core/json.h"
#include "data/generation_config.h"
#include "data/sentencepiece_tokenizer.h"
#include "data/tokenizer_config.h"
#include "data/tokenizer_export.h"
#include "data/tokenizer_gguf.h"
#include "data/tokenizer_json.h"

namespace keel::data {
namespace {

namespace fs = std::filesystem;

// Names a vocabulary in an unsupported form in a folder.
std::string other_vocabulary(const fs::path& folder) {
  constexpr const char* kRemedy = "write one with transformers: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)";
  if (fs::exists(folder / "vocab.json") || fs::exists(folder / "merges.txt"))
    return std::string("it has vocab.json and merges.txt, which do not say how text is cut into words; ") + kRemedy;
  for (const char* name : {"vocab.txt", "spiece.model", "sentencepiece.bpe.model", "tekken.json", "tokenizer.model.v3", "vocab.json.gz"})
    if (fs::exists(folder / name)) return fmt::format("it has {}, which keel does not read; {}", name, kRemedy);
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().extension() == ".tiktoken")
      return fmt::format("it has {}, which keel does not read; {}", entry.path().filename().string(), kRemedy);
  if (fs::exists(folder / "tokenizer_config.json")) return "it has tokenizer_config.json alone: fetch the vocabulary of the same model too";
  return {};
}

// The file that holds the tokenizer: `path` itself, or the one of a folder.
fs::path tokenizer_file(const fs::path& path) {
  if (!fs::exists(path)) throw core::UsageError("no tokenizer at " + path.string() + ": it does not exist");
  if (!fs::is_directory(path)) return path;
  for (const char* name : {"tokenizer.json", "tokenizer.model"}) {
    if (fs::exists(path / name)) return path / name;
  }
  const std::string other = other_vocabulary(path);
  throw core::UsageError(fmt::format("no tokenizer in {}: a model directory holds tokenizer.json or tokenizer.model{}{}", path.string(),
                                     other.empty() ? "" : "; ", other));
}

// Whether `file` is GGUF; DataError for another known format.
bool is_gguf(const fs::path& file) {
  const core::MappedFile mapped(file);
  core::refuse_foreign_file(mapped.bytes(), file);
  return mapped.bytes().starts_with("GGUF") || file.extension() == ".gguf";
}

std::unique_ptr<Tokenizer> load_gguf(const fs::path& file) {
  const core::GgufFile gguf(file);
  const TokenizerConfig config = parse_tokenizer_config(gguf_tokenizer_config(gguf), gguf.path());
  std::unique_ptr<Tokenizer> tokenizer;
  if (is_sentencepiece(gguf))
    tokenizer = std::make_unique<SentencePieceTokenizer>(gguf_sentencepiece_model(gguf), gguf.path(), config);
  else
    tokenizer = tokenizer_from_json(gguf_tokenizer_json(gguf), config, gguf.path());
  tokenizer->set_stops(gguf_stops(gguf));
  return tokenizer;
}

}  // namespace

std::unique_ptr<Tokenizer> load_tokenizer(const fs::path& path) {
  const fs::path file = tokenizer_file(path);
  if (is_gguf(file)) return load_gguf(file);
  const TokenizerConfig config = read_tokenizer_config(file.parent_path());
  std::unique_ptr<Tokenizer> tokenizer;
  if (file.extension() == ".json")
    tokenizer = tokenizer_from_json(core::read_json_file(file), config, file.string());
  else
    tokenizer = std::make_unique<SentencePieceTokenizer>(core::read_file(file), file.string(), config);
  tokenizer->set_stops(folder_stops(file.parent_path(), *tokenizer));
  return tokenizer;
}

const std::vector<std::string>& tokenizer_companions() {
  static const std::vector<std::string> names = {"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
                                                 "chat_template.jinja",   "chat_template.json",      "generation_config.json"};
  return names;
}

void write_tokenizer(const fs::path& path, const fs::path& folder) {
  load_tokenizer(path);  // refuses an unreadable tokenizer before anything is written
  const fs::path file = tokenizer_file(path);
  if (is_gguf(file)) {
    const core::GgufFile gguf(file);
    core::write_file(folder / "tokenizer_config.json", core::dump_json(gguf_tokenizer_config(gguf)));
    if (is_sentencepiece(gguf)) {
      core::write_file(folder / "tokenizer.model", gguf_sentencepiece_model(gguf));
    } else {
      core::write_file(folder / "tokenizer.json", core::dump_json(gguf_tokenizer_json(gguf)));
    }
    if (core::Ids stops = gguf_stops(gguf); !stops.empty()) {
      if (gguf.has("tokenizer.ggml.eos_token_id")) stops.insert(stops.begin(), gguf.integer("tokenizer.ggml.eos_token_id"));
      core::write_file(folder / "generation_config.json", core::dump_json({{"eos_token_id", stops}}));
    }
    return;
  }
  core::write_file(folder / (file.extension() == ".json" ? "tokenizer.json" : "tokenizer.model"), core::read_file(file));
  std::vector<std::string> beside = tokenizer_companions();
  if (fs::is_directory(path)) beside.emplace_back("tokenizer.model");  // not read if there is a tokenizer.json, but part of the folder
  for (const std::string& name : beside) {
    if (fs::is_regular_file(file.parent_path() / name)) core::write_file(folder / name, core::read_file(file.parent_path() / name));
  }
}

}  // namespace keel::data
