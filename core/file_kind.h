// Recognises well-known file formats that keel does not read, so that a reader can name them instead of reporting a syntax error.
#pragma once

#include <string>
#include <string_view>

namespace keel::core {

// The format by a file's first bytes: "a Git LFS pointer, not the file itself: fetch it with git lfs pull". "" for an unknown format.
std::string foreign_file(std::string_view head);

// Throws DataError for such a file.
void refuse_foreign_file(std::string_view head, const std::string& path);

enum class WholeFile { json, safetensors, gguf };

// The same for a file that is read as it lies, as one of those: a compressed one, and one of the others, is refused by name too.
void refuse_other_file(std::string_view head, const std::string& path, WholeFile wanted);

}  // namespace keel::core
