// Which program this is: for --version, keel.json, run.json and manifests.
#pragma once

namespace keel::core {

inline constexpr const char* kVersion = "0.1.0";

}  // namespace keel::core
