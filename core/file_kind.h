// Recognises well-known file formats that keel does not read, so that a reader can name them instead of reporting a syntax error.
#pragma once

#include <string>
#include <string_view>

namespace keel::core {

// The format by a file's first bytes: "a Git LFS pointer, not the file itself: fetch it with git lfs pull". "" for an unknown format.
std::string foreign_file(std::string_view head);

// Throws DataError for such a file.
void refuse_foreign_file(std::string_view head, const std::string& path);

}  // namespace keel::core
