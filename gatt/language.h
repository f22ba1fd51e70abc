// The language of a text, by CLD2 (Compact Language Detector 2).
#pragma once

#include <string>
#include <string_view>

namespace keel::gatt {

// Whether `name` ("French", "spanish") is a language that is_in_language() knows.
bool known_language(const std::string& name);

// Whether most of `text` is in that language. False where the text is too short to tell. std::invalid_argument for an unknown name.
bool is_in_language(std::string_view text, const std::string& name);

}  // namespace keel::gatt
