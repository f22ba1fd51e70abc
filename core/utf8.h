// Strict UTF-8 (RFC 3629): overlong forms, surrogates and code points above U+10FFFF are refused, or repaired on request.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace keel::core {

// Offset of the first byte that is not part of well-formed UTF-8; std::string_view::npos when all of it is.
size_t find_invalid_utf8(std::string_view text);

void require_utf8(std::string_view text);  // throws std::invalid_argument with the byte's position

size_t character_bytes(char lead);  // bytes of the character that begins with `lead`, in valid UTF-8

// A text out of a binary file as an error may show it: its first 100 bytes, "?" for all that is not printable ASCII.
std::string printable(std::string_view text);

std::string repair_utf8(std::string_view text);  // each ill-formed piece (Unicode 15, 3.9, maximal subparts) becomes one U+FFFD

}  // namespace keel::core
