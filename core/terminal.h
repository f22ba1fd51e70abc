// Text for a terminal.
#pragma once

#include <string>
#include <string_view>

namespace keel::core {

// `text` without what steers a terminal instead of showing something: control characters (C0 but for line break and tab, U+007F to U+009F)
// and characters that turn the direction of what follows (U+202A to U+202E, U+2066 to U+2069) become \u009b. Ill-formed UTF-8 becomes
// U+FFFD.
std::string harmless(std::string_view text);

// The same on one line: line breaks and tabs become blanks, and what is longer than `most` characters ends in "...".
std::string harmless_line(std::string_view text, size_t most);

// Code points of valid UTF-8.
size_t count_characters(std::string_view text);

}  // namespace keel::core
