// What models on the CPU compute products with.
#pragma once

#include <string>

namespace keel::policy {

// "fp32", or "bf16": from now on both sides of every product are rounded to bf16 and added in fp32, in training, scoring and generation
// alike; weights that learn, gradients, moments, norms, attention and softmax stay in fp32. UsageError for another word, on a device other
// than the CPU, and where the processor has no such products. Call it after open_device() (runtime/device.h) and before a model is made.
void set_precision(const std::string& name);

std::string precision();  // the one in force; it stands in keys beside the device

}  // namespace keel::policy
