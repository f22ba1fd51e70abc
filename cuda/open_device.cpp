// libkeel_cuda.so: CUDA for a program that links the CPU's part of LibTorch alone. Loading it loads libtorch_cuda, whose kernels register
// themselves; nothing else of keel knows CUDA.
#include <ATen/Context.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <fmt/format.h>

#include <string>

#include "runtime/device_plug_in.h"

extern "C" const char* keel_open_device(int index, int* type) {
  static std::string problem;
  const auto count = at::hasCUDA() ? at::detail::getCUDAHooks().deviceCount() : 0;
  if (count == 0) return "no NVIDIA driver answers: install one of version 580 or newer, or leave --device out";
  if (index >= count) {
    problem = fmt::format("there {} {} such device{}, numbered from 0", count == 1 ? "is" : "are", count, count == 1 ? "" : "s");
    return problem.c_str();
  }
  at::globalContext().setAllowTF32CuBLAS(false);
  *type = static_cast<int>(c10::kCUDA);
  return nullptr;
}
