#include "pipelines/version.h"

#include <torch/version.h>

#include "runtime/device.h"

namespace keel::pipelines {

std::map<std::string, std::string> program_versions() {
  return {{"keel", kVersion}, {"torch", TORCH_VERSION}, {"compiler", __VERSION__}, {"vector_level", runtime::cpu_capability()}};
}

}  // namespace keel::pipelines
