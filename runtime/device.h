// Process-wide numeric settings: threads, determinism, device.
#pragma once

#include <c10/core/Device.h>

#include <map>
#include <string>

namespace keel::runtime {

// Call once, before the first tensor is made: `threads` intra-op threads (0 = all cores, or this rank's share of them), one inter-op
// thread, deterministic algorithms, fixed MKL reductions (MKL_CBWR). Returns the thread count in force.
int configure_process(int threads);

// "cpu" or "cuda"; UsageError for anything else and for "cuda" where this build or machine has none.
c10::Device parse_device(const std::string& name);

void return_freed_memory();  // to the system

std::string cpu_capability();  // the vector level ATen dispatches to: "AVX2", "AVX512", "DEFAULT"

// What decides about the last bits of results, for manifests and half-done work: "keel", its "arithmetic" (core/version.h), "torch",
// "compiler", and "vector_level" of this machine.
std::map<std::string, std::string> program_versions();

}  // namespace keel::runtime
