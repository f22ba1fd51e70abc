// Small operations on UTF-8 text that the chat formats and the readers share.
#pragma once

#include <string>
#include <string_view>

namespace keel::data {

// `text` without surrounding blanks. What is blank follows Python's str.strip(), Unicode spaces included, because the reference
// renderers are written in it.
std::string_view strip(std::string_view text);

// `text` stripped, every run of ASCII blanks and line breaks inside it as one blank: for comparing what was copied by hand.
std::string single_spaced(std::string_view text);

}  // namespace keel::data
