#pragma once

namespace keel::pipelines {

inline constexpr const char* kVersion = "0.1.0";

}  // namespace keel::pipelines
