#include "data/tokenizer.h"

#include <nlohmann/json.hpp>
#include <vector>

#include "core/error.h"
#include "core/files.h"
#include "core/gguf.h"
#include "core/json.h"
#include "data/sentencepiece_tokenizer.h"
#include "data/tokenizer_config.h"
#include "data/tokenizer_export.h"
#include "data/tokenizer_gguf.h"
#include "data/tokenizer_json.h"

namespace keel::data {
namespace {

namespace fs = std::filesystem;

// The file that holds the tokenizer: `path` itself, or the one of a folder.
fs::path tokenizer_file(const fs::path& path) {
  if (!fs::exists(path)) throw core::UsageError("no tokenizer at " + path.string() + ": it does not exist");
  if (!fs::is_directory(path)) return path;
  for (const char* name : {"tokenizer.json", "tokenizer.model"}) {
    if (fs::exists(path / name)) return path / name;
  }
  throw core::UsageError("no tokenizer in " + path.string() + ": a model directory holds tokenizer.json or tokenizer.model");
}

bool is_gguf(const fs::path& file) {
  const core::MappedFile mapped(file);
  return mapped.bytes().starts_with("GGUF") || file.extension() == ".gguf";
}

}  // namespace

std::unique_ptr<Tokenizer> load_tokenizer(const fs::path& path) {
  const fs::path file = tokenizer_file(path);
  if (is_gguf(file)) {
    const core::GgufFile gguf(file);
    const TokenizerConfig config = parse_tokenizer_config(gguf_tokenizer_config(gguf), gguf.path());
    if (is_sentencepiece(gguf)) return std::make_unique<SentencePieceTokenizer>(gguf_sentencepiece_model(gguf), gguf.path(), config);
    return tokenizer_from_json(gguf_tokenizer_json(gguf), config, gguf.path());
  }
  const TokenizerConfig config = read_tokenizer_config(file.parent_path());
  if (file.extension() == ".json") return tokenizer_from_json(core::read_json_file(file), config, file.string());
  return std::make_unique<SentencePieceTokenizer>(core::read_file(file), file.string(), config);
}

void write_tokenizer(const fs::path& path, const fs::path& folder) {
  load_tokenizer(path);  // refuses what cannot be read before anything is written
  const fs::path file = tokenizer_file(path);
  if (is_gguf(file)) {
    const core::GgufFile gguf(file);
    core::write_file(folder / "tokenizer_config.json", core::dump_json(gguf_tokenizer_config(gguf)));
    if (is_sentencepiece(gguf)) {
      core::write_file(folder / "tokenizer.model", gguf_sentencepiece_model(gguf));
    } else {
      core::write_file(folder / "tokenizer.json", core::dump_json(gguf_tokenizer_json(gguf)));
    }
    return;
  }
  core::write_file(folder / (file.extension() == ".json" ? "tokenizer.json" : "tokenizer.model"), core::read_file(file));
  std::vector<const char*> beside = {"tokenizer_config.json", "special_tokens_map.json"};
  if (fs::is_directory(path)) beside.push_back("tokenizer.model");  // unread where a tokenizer.json is there, but part of the folder
  for (const char* name : beside) {
    if (fs::is_regular_file(file.parent_path() / name)) core::write_file(folder / name, core::read_file(file.parent_path() / name));
  }
}

}  // namespace keel::data
