#include "runtime/device.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <c10/util/Logging.h>
#include <fmt/format.h>
#include <malloc.h>
#include <torch/version.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <thread>

#include "core/error.h"
#include "core/version.h"
#include "runtime/dist/ranks.h"

extern "C" [[gnu::weak]] void MallocExtension_ReleaseFreeMemory();  // tcmalloc's, where the program links it

namespace keel::runtime {

int configure_process(int threads) {
  FLAGS_caffe2_use_fatal_for_enforce = false;  // an allocation that fails is an error to report, not the end of the process
  // Tensors of a few megabytes are allocated and freed all the time; returning their memory to the system would cost page faults each time.
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 512 << 20);
  setenv("MKL_CBWR", "AUTO", 0);  // equal sums whatever the alignment of a buffer; must precede MKL's first call
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  const int wanted = threads > 0 ? threads : std::max(1, cores / dist::local_size());
  at::set_num_threads(wanted);
  if (at::get_num_interop_threads() != 1) at::set_num_interop_threads(1);
  at::globalContext().setDeterministicAlgorithms(true, false);
  at::globalContext().setDeterministicFillUninitializedMemory(false);  // would fill every fresh tensor
  return at::get_num_threads();
}

void return_freed_memory() {
  if (MallocExtension_ReleaseFreeMemory != nullptr) MallocExtension_ReleaseFreeMemory();
  malloc_trim(0);
}

c10::Device parse_device(const std::string& name) {
  if (name == "cpu") return c10::Device(c10::kCPU);
  if (name == "cuda") throw core::UsageError("--device cuda: this build of keel computes on the CPU only; leave --device out");
  throw core::UsageError(fmt::format("--device must be cpu or cuda, got \"{}\"", name));
}

std::string cpu_capability() {
  return at::get_cpu_capability();
}

std::map<std::string, std::string> program_versions() {
  return {{"keel", core::kVersion},
          {"arithmetic", std::to_string(core::kArithmetic)},
          {"torch", TORCH_VERSION},
          {"compiler", __VERSION__},
          {"vector_level", cpu_capability()}};
}

}  // namespace keel::runtime
