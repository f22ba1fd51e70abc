// What a file is, where it is none of those that keel reads: a reader that fails on it would otherwise blame its bytes.
#pragma once

#include <string>
#include <string_view>

namespace keel::core {

// By the first bytes of a file: "a Git LFS pointer, not the file itself: fetch it with git lfs pull". "" for what is not known here.
std::string foreign_file(std::string_view head);

// Throws DataError for such a file.
void refuse_foreign_file(std::string_view head, const std::string& path);

}  // namespace keel::core
