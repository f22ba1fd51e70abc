// The tokenizer of any source as the files of a model directory.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace keel::data {

// Files beside a vocabulary that change ids, stops or templates: they go wherever the vocabulary goes.
const std::vector<std::string>& tokenizer_companions();

// Writes tokenizer.json (BPE) or tokenizer.model (SentencePiece) into `folder`, both where the source is a folder with both, and the
// companions that the source has; those of a GGUF file come from its metadata. `path` is what
// load_tokenizer takes; loading the folder then gives the same ids. Throws as load_tokenizer does, before anything is written.
void write_tokenizer(const std::filesystem::path& path, const std::filesystem::path& folder);

}  // namespace keel::data
