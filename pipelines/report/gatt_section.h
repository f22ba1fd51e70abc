// The report's section on Ghost Attention.
#pragma once

#include <filesystem>

#include "evaluation/report.h"

namespace keel::pipelines::report {

// Attribute kept by turn for each group of instructions and model (paper, table 30), and the last answer's attention on the instruction by
// layer (figure 10). Reads retention.jsonl and attention.json in `folder`.
evaluation::Section gatt_section(const std::filesystem::path& folder);

}  // namespace keel::pipelines::report
