// Reads a chat template as the declaration of a chat format. There is no interpreter: a template is read if it is made of the steps that
// the templates of the Llama family's common checkpoints are made of, in their order.
#pragma once

#include <optional>
#include <vector>

#include "data/chat_format.h"
#include "data/template_steps.h"

namespace keel::data {

// The format that writes what the template writes, for every dialogue that keel renders; nullopt if a step says more than a format can.
std::optional<ChatFormat> read_template(const std::vector<TemplateStep>& steps);

}  // namespace keel::data
