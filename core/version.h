// Which program this is: for --version, keel.json, run.json and manifests.
#pragma once

namespace keel::core {

inline constexpr const char* kVersion = "0.1.0";

// Raised by every change after which the same work gives other bits: half-done work is not continued across it.
inline constexpr int kArithmetic = 5;

}  // namespace keel::core
