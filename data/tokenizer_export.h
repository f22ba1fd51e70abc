// The tokenizer of any source as the files of a model directory.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace keel::data {

// Files beside a vocabulary that change ids, stops or templates; they are copied together with it.
const std::vector<std::string>& tokenizer_companions();

// Writes tokenizer.json (BPE) or tokenizer.model (SentencePiece) into `folder`, both if the source folder has both, and the source's
// companions; those of a GGUF file come from its metadata. `path` as for load_tokenizer; the folder gives the same ids. Throws as
// load_tokenizer, before anything is written.
void write_tokenizer(const std::filesystem::path& path, const std::filesystem::path& folder);

}  // namespace keel::data
