// The kernels for registers of any processor.
#include "engine/kernels.h"

namespace keel::engine {
namespace {
constexpr const char* kName = "plain";
constexpr int64_t kWidth = 4, kTileSums = 8, kTileVectors = 2;
}  // namespace
}  // namespace keel::engine

#include "engine/kernel_body.h"

namespace keel::engine {

const Kernels& plain_kernels() {
  return kTable;
}

}  // namespace keel::engine
