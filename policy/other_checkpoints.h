// Checkpoints of forms that keel does not read: what they are, and what to do instead.
#pragma once

#include <filesystem>
#include <string>

namespace keel::policy {

// What a folder holds in place of a model that keel reads, with a remedy; "" when nothing known is there.
std::string other_folder(const std::filesystem::path& folder);

// UsageError for a file that is known to be no checkpoint that keel reads (PyTorch, ONNX, a safetensors file without its folder ...).
void refuse_other_checkpoint(const std::filesystem::path& file);

}  // namespace keel::policy
