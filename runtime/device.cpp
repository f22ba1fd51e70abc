#include "runtime/device.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <c10/util/Logging.h>
#include <dlfcn.h>
#include <fmt/format.h>
#include <malloc.h>
#include <torch/version.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <thread>

#include "core/error.h"
#include "core/version.h"
#include "runtime/device_plug_in.h"
#include "runtime/dist/ranks.h"

extern "C" [[gnu::weak]] void MallocExtension_ReleaseFreeMemory();  // tcmalloc's, where the program links it

namespace keel::runtime {
namespace {

c10::Device opened{c10::kCPU};
std::string opened_kind = "cpu";

}  // namespace

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

c10::Device open_device(const std::string& name) {
  const size_t colon = name.find(':');
  const std::string kind = name.substr(0, colon), number = colon == std::string::npos ? "" : name.substr(colon + 1);
  const bool is_number = std::ranges::all_of(number, [](char digit) { return digit >= '0' && digit <= '9'; });
  const bool is_word = !kind.empty() && std::ranges::all_of(kind, [](char letter) { return letter >= 'a' && letter <= 'z'; });
  const auto unknown = [&] { return core::UsageError(fmt::format("--device must be cpu, cuda or cuda:N, got \"{}\"", name)); };
  if (!is_word || !is_number || number.size() > 3 || (colon != std::string::npos && number.empty())) throw unknown();
  opened_kind = kind;
  opened = c10::Device(c10::kCPU);
  if (name == "cpu") return opened;
  if (kind == "cuda") {                                           // read when its libraries are loaded
    setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", 0);              // deterministic products need it
    setenv("PYTORCH_ALLOC_CONF", "expandable_segments:True", 0);  // memory of one phase serves the next
  }
  void* plug_in = ::dlopen(fmt::format("libkeel_{}.so", kind).c_str(), RTLD_NOW | RTLD_LOCAL);  // stays open
  if (plug_in == nullptr) {
    const std::string problem = ::dlerror();
    if (kind != "cuda") throw unknown();
    if (problem.find("libkeel_cuda.so: cannot open") != std::string::npos)
      throw core::UsageError("--device cuda: this keel was built without it: make setup CUDA=1, then make build CUDA=1");
    throw core::UsageError(fmt::format("--device cuda: its libraries cannot be loaded ({}); make setup CUDA=1 fetches them", problem));
  }
  auto* open = reinterpret_cast<OpenDevice*>(::dlsym(plug_in, kOpenDevice));
  if (open == nullptr) throw unknown();
  const int index =
      number.empty() ? dist::place_from([](const char* variable) { return std::getenv(variable); }).local_rank : std::stoi(number);
  int type = 0;
  if (const char* problem = open(index, &type); problem != nullptr) throw core::UsageError(fmt::format("--device {}: {}", name, problem));
  opened = c10::Device(static_cast<c10::DeviceType>(type), static_cast<c10::DeviceIndex>(index));
  return opened;
}

c10::Device compute_device() {
  return opened;
}

std::string device_kind() {
  return opened_kind;
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
