// The kernels for AVX2 registers; CMakeLists.txt compiles this source for processors that have them.
#include "engine/kernels.h"

namespace keel::engine {
namespace {
constexpr const char* kName = "avx2";
constexpr int64_t kWidth = 8, kTileSums = 12, kTileVectors = 2;
}  // namespace
}  // namespace keel::engine

#include "engine/kernel_body.h"

namespace keel::engine {

const Kernels& avx2_kernels() {
  return kTable;
}

}  // namespace keel::engine
