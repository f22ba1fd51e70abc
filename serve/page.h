// The page at /: a person scores a dialogue and compares two answers. It needs nothing from outside.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "serve/models.h"

namespace keel::serve {

std::string page_html(const ModelSet& set);
std::vector<std::pair<std::string, std::string>> page_headers();  // nothing but its own script runs, and only this server is asked

}  // namespace keel::serve
