// Which program this is: for --version, keel.json and manifests.
#pragma once

#include <map>
#include <string>

namespace keel::pipelines {

inline constexpr const char* kVersion = "0.1.0";

// "keel", "torch", "compiler", and "vector_level" of this machine.
std::map<std::string, std::string> program_versions();

}  // namespace keel::pipelines
