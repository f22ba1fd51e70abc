// Enum settings by their names (core/config.h) where no Fields reads them: options of the command line, elements of lists, rows of files.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "core/config.h"

namespace keel::core {

template <NamedEnum E>
std::vector<std::string> all_names() {
  std::vector<std::string> all;
  for (const Named<E>& known : names(E{}))
    all.emplace_back(known.name);
  return all;
}

// std::invalid_argument for a name that is none of all_names().
template <NamedEnum E>
E named(std::string_view name) {
  for (const Named<E>& known : names(E{}))
    if (known.name == name) return known.value;
  throw std::invalid_argument("no setting has the name \"" + std::string(name) + "\"");
}

}  // namespace keel::core
