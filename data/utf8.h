// UTF-8 as the tokenizers use it: characters of sound text, refusal and repair of unsound text.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace keel::data {

void require_utf8(std::string_view text);  // throws std::invalid_argument with the byte's position

size_t character_bytes(char lead);  // bytes of the character that begins with `lead`, in valid UTF-8

std::string repair_utf8(std::string_view text);  // each ill-formed piece (Unicode 15, 3.9, maximal subparts) becomes one U+FFFD

}  // namespace keel::data
