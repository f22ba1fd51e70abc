// What a request asks for, by kind.
#pragma once

#include <variant>

#include "serve/dialects/asked.h"

namespace keel::serve::dialects {

template <class Content>
Content content(const Asked& asked, size_t i = 0) {
  return std::get<Content>(asked.items.at(i).content);
}

}  // namespace keel::serve::dialects
