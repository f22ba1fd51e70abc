// The tokenizer of any source as the files of a model directory.
#pragma once

#include <filesystem>

namespace keel::data {

// Writes tokenizer.json (BPE) or tokenizer.model (SentencePiece) into `folder`, both where the source is a folder with both, beside the
// tokenizer_config.json and special_tokens_map.json that the source has; those of a GGUF file come from its metadata. `path` is what
// load_tokenizer takes; loading the folder then gives the same ids. Throws as load_tokenizer does, before anything is written.
void write_tokenizer(const std::filesystem::path& path, const std::filesystem::path& folder);

}  // namespace keel::data
