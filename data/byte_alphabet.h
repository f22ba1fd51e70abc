// The alphabet in which GPT-2's byte-level vocabularies are written: one printable character for each of the 256 bytes.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace keel::data {

// Bytes that print keep their own character of Latin-1; the other 68 become U+0100 and upwards, in order.
std::string to_byte_alphabet(std::string_view bytes);

// The bytes that `text` spells; nothing when one of its characters is not in the alphabet.
std::optional<std::string> from_byte_alphabet(std::string_view text);

}  // namespace keel::data
