// The kernels for AVX-512 registers; CMakeLists.txt compiles this source for processors that have them.
#include "engine/kernels.h"

namespace keel::engine {
namespace {
constexpr const char* kName = "avx512";
constexpr int64_t kWidth = 16, kTileSums = 24, kTileVectors = 2;
}  // namespace
}  // namespace keel::engine

#include "engine/kernel_body.h"

namespace keel::engine {

const Kernels& avx512_kernels() {
  return kTable;
}

}  // namespace keel::engine
