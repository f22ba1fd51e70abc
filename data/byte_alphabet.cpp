#include "data/byte_alphabet.h"

#include <array>

namespace keel::data {
namespace {

struct ByteAlphabet {
  std::array<std::string, 256> characters;  // UTF-8 of each byte's character, all below U+0144: one or two bytes
  std::array<int, 0x144> bytes;             // by code point, -1 where there is none

  ByteAlphabet() {
    bytes.fill(-1);
    size_t next = 0x100;
    for (size_t byte = 0; byte < 256; ++byte) {
      const bool prints = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
      const size_t point = prints ? byte : next++;
      bytes[point] = static_cast<int>(byte);
      if (point < 0x80) {
        characters[byte] = static_cast<char>(point);
      } else {
        characters[byte] = {static_cast<char>(0xC0 | (point >> 6)), static_cast<char>(0x80 | (point & 0x3F))};
      }
    }
  }
};

const ByteAlphabet& byte_alphabet() {
  static const ByteAlphabet alphabet;
  return alphabet;
}

}  // namespace

std::string to_byte_alphabet(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const char byte : bytes)
    text += byte_alphabet().characters[static_cast<unsigned char>(byte)];
  return text;
}

std::optional<std::string> from_byte_alphabet(std::string_view text) {
  std::string bytes;
  for (size_t i = 0; i < text.size(); ++i) {
    auto point = static_cast<size_t>(static_cast<unsigned char>(text[i]));
    if (point >= 0x80) {
      if (point >= 0xE0 || i + 1 == text.size()) return std::nullopt;
      point = ((point & 0x1F) << 6) | (static_cast<unsigned char>(text[++i]) & 0x3F);
    }
    if (point >= byte_alphabet().bytes.size() || byte_alphabet().bytes[point] < 0) return std::nullopt;
    bytes += static_cast<char>(byte_alphabet().bytes[point]);
  }
  return bytes;
}

}  // namespace keel::data
