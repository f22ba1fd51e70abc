// Recognises checkpoints in formats that keel does not read, and says what to do instead.
#pragma once

#include <filesystem>
#include <string>

namespace keel::policy {

// Names the foreign checkpoint in a folder, with a remedy; "" when none is recognised.
std::string other_folder(const std::filesystem::path& folder);

// UsageError for a file in a known format that keel does not read (PyTorch, ONNX, a safetensors file without its folder ...).
void refuse_other_checkpoint(const std::filesystem::path& file);

}  // namespace keel::policy
