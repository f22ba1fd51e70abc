// What models compute products with.
#pragma once

#include <string>

namespace keel::policy {

// "fp32", or "bf16": from now on both sides of products of matrices are rounded to bf16 and added in fp32, in training, scoring and
// generation alike; weights that learn, gradients, moments, norms, attention, softmax and scalar heads stay in fp32. On devices other than
// the CPU the products of blocks alone, whose results are rounded to bf16 too; the head's stay in fp32. UsageError for another word and for
// a CPU that has no such products. Call it after open_device() (runtime/device.h) and before a model is made.
void set_arithmetic(const std::string& name);

std::string arithmetic();  // the one in force; it stands in keys beside the device

bool computes_in_bf16();

}  // namespace keel::policy
