#include "core/terminal.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/utf8.h"

namespace keel::core {
namespace {

bool steers(char32_t c) {
  return (c < 0x20 && c != '\n' && c != '\t') || (c >= 0x7f && c <= 0x9f) || (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

// The code point of a character in UTF-8.
char32_t code_point(std::string_view character) {
  const auto lead = static_cast<unsigned char>(character[0]);
  char32_t code = character.size() == 1 ? lead : lead & (0x7fu >> character.size());
  for (const char c : character.substr(1))
    code = code << 6 | (static_cast<unsigned char>(c) & 0x3f);
  return code;
}

}  // namespace

std::string harmless(std::string_view text) {
  const std::string valid = repair_utf8(text);
  std::string result;
  for (size_t begin = 0, bytes = 0; begin < valid.size(); begin += bytes) {
    bytes = character_bytes(valid[begin]);
    const std::string_view character = std::string_view(valid).substr(begin, bytes);
    const char32_t code = code_point(character);
    result += steers(code) ? fmt::format("\\u{:04x}", static_cast<uint32_t>(code)) : std::string(character);
  }
  return result;
}

std::string harmless_line(std::string_view text, size_t most) {
  std::string line = harmless(text);
  for (char& c : line)
    if (c == '\n' || c == '\t') c = ' ';
  if (count_characters(line) <= most) return line;
  size_t end = 0;
  for (size_t left = most < 3 ? 0 : most - 3; left > 0; --left)
    end += character_bytes(line[end]);
  return line.substr(0, end) + "...";
}

size_t count_characters(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

}  // namespace keel::core
