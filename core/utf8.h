// Strict UTF-8 (RFC 3629): overlong forms, surrogates and code points above U+10FFFF are refused.
#pragma once

#include <cstddef>
#include <string_view>

namespace keel::core {

// Offset of the first byte that is not part of well-formed UTF-8; std::string_view::npos when all of it is.
size_t find_invalid_utf8(std::string_view text);

}  // namespace keel::core
