// A device that computes on the CPU and is as strict as a GPU: host code that reads its memory by a pointer crashes, and an operator that
// gets tensors of two devices throws. So tests of code for GPUs run without one. It knows no streams, and its results are the CPU's.
#pragma once

#include <c10/core/Device.h>

namespace keel::test {

c10::Device pretend_device();  // registered with LibTorch at the first call

}  // namespace keel::test
