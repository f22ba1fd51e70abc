// What there is to know of a checkpoint or a tokenizer before anything is computed with it.
#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "data/chat_format.h"
#include "data/tokenizer.h"

namespace keel::inference {

enum class PathKind { model_folder, adapter, gguf, llama2c, tokenizer, other };

// By the names in a folder, and by the first bytes and the name of a file. `other`: none of these, or nothing at all.
PathKind path_kind(const std::filesystem::path& path);

// One JSON object: "kind" in words; "shape" in the names of config.json, "parameters", "dtypes" (numbers by dtype), "bytes"; "tokenizer"
// {"kind", "ids", "adds_bos", "bos", "eos", "pad"}, each id as {"id", "piece"}; "chat_format" {"name", "from", "stops"}; "lineage",
// "recorded_digest" (keel.json), "weights_digest", "digest" (model_digest()); "accuracy" of a reward model; "problems", for which the
// model could not be loaded. What does not apply is absent. Throws what the readers of the parts throw. `chat` as load_language_model().
nlohmann::json facts_of(const std::filesystem::path& path, const std::string& chat = {});

// What renders dialogues for a model: without its weights.
struct TextParts {
  std::shared_ptr<const data::Tokenizer> tokenizer;
  data::ChatFormat format;
  int64_t context = 0;  // 0: a tokenizer alone, whose context is unknown
};
// `path` as in facts_of(), except an adapter and a llama2.c file, which have no tokenizer (UsageError).
TextParts text_parts(const std::filesystem::path& path, const std::string& chat = {});

}  // namespace keel::inference
