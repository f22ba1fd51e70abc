// Process-wide numeric settings: threads, determinism, device.
#pragma once

#include <c10/core/Device.h>

#include <map>
#include <string>

namespace keel::runtime {

// Call once, before the first tensor is made: `threads` intra-op threads (0 = all cores, or this rank's share of them), one inter-op
// thread, deterministic algorithms, fixed MKL reductions (MKL_CBWR). Returns the thread count in force.
int configure_process(int threads);

// Where models lie and compute from now on: "cpu", "cuda" or "cuda:N" (without N: the rank of this process on its machine). Another kind of
// device than the CPU is a plug-in, libkeel_KIND.so in the program's run path; it must be opened before anything else touches LibTorch.
// UsageError for another word, without the plug-in, and where the plug-in finds no such device, with the remedy.
c10::Device open_device(const std::string& name);

c10::Device compute_device();  // the one that was opened; the CPU where none was

// "cpu", "cuda": what decides about results, and stands in keys.
std::string device_kind();

void return_freed_memory();  // to the system

std::string cpu_capability();  // the vector level ATen dispatches to: "AVX2", "AVX512", "DEFAULT"

// What decides about the last bits of results, for manifests and half-done work: "keel", its "arithmetic" (core/version.h), "torch",
// "compiler", and "vector_level" of this machine.
std::map<std::string, std::string> program_versions();

}  // namespace keel::runtime
