#pragma once

#include <vector>

#include "policy/generate.h"

namespace keel::policy {

// Fills `answers`, each of which says its prompt and sample, by plain operators on padded batches. As generate(), but two batches may
// differ by rounding.
void generate_plainly(const Llama& model, const GenerationJob& job, std::vector<core::Sample>& answers);

}  // namespace keel::policy
