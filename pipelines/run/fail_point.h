// Named steps at which a crash test may kill the process.
#pragma once

#include <string_view>

namespace keel::pipelines::run {

// SIGKILLs this process when KEEL_FAIL_POINT is "name", or "name:n" and the step is passed for the n-th time; else does nothing.
void fail_point(std::string_view name);

}  // namespace keel::pipelines::run
