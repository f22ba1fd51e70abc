// Well-formed byte sequences as in table 3-7 of the Unicode standard.
#include "core/utf8.h"

#include <fmt/core.h>

#include <cstdint>
#include <cstring>
#include <stdexcept>

namespace keel::core {
namespace {

// Length of the sequence that `first` opens and the range of its second byte; length 0: no sequence opens with it.
struct Utf8Lead {
  size_t length;
  unsigned low, high;
};

Utf8Lead utf8_lead(unsigned first) {
  if (first >= 0xC2 && first <= 0xDF) return {2, 0x80, 0xBF};
  if (first == 0xE0) return {3, 0xA0, 0xBF};  // below: overlong
  if (first == 0xED) return {3, 0x80, 0x9F};  // above: surrogates
  if (first >= 0xE1 && first <= 0xEF) return {3, 0x80, 0xBF};
  if (first == 0xF0) return {4, 0x90, 0xBF};  // below: overlong
  if (first >= 0xF1 && first <= 0xF3) return {4, 0x80, 0xBF};
  if (first == 0xF4) return {4, 0x80, 0x8F};  // above: past U+10FFFF
  return {0, 0, 0};
}

// Bytes at the start of `text` that one U+FFFD stands for: the longest beginning of some character, at least one byte.
size_t ill_formed_bytes(std::string_view text) {
  const size_t whole = character_bytes(text[0]);
  size_t length = 1;
  for (; length < whole && length < text.size(); ++length) {
    std::string completed(text.substr(0, length + 1));
    completed.resize(whole, '\x80');
    if (find_invalid_utf8(completed) != std::string_view::npos) break;
  }
  return length;
}

}  // namespace

size_t find_invalid_utf8(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    uint64_t eight = 0;
    if (i + sizeof eight <= text.size()) {
      std::memcpy(&eight, text.data() + i, sizeof eight);
      if ((eight & 0x8080808080808080) == 0) {
        i += sizeof eight;
        continue;
      }
    }
    const auto byte = [&](size_t k) { return static_cast<unsigned>(static_cast<unsigned char>(text[k])); };
    if (byte(i) < 0x80) {
      ++i;
      continue;
    }
    const Utf8Lead lead = utf8_lead(byte(i));
    if (lead.length == 0 || i + lead.length > text.size() || byte(i + 1) < lead.low || byte(i + 1) > lead.high) return i;
    for (size_t k = 2; k < lead.length; ++k) {
      if (byte(i + k) < 0x80 || byte(i + k) > 0xBF) return i;
    }
    i += lead.length;
  }
  return std::string_view::npos;
}

void require_utf8(std::string_view text) {
  const size_t at = find_invalid_utf8(text);
  if (at == std::string_view::npos) return;
  throw std::invalid_argument(fmt::format("text must be UTF-8, byte {} ({:#04x}) is not", at, static_cast<unsigned char>(text[at])));
}

size_t character_bytes(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

std::string printable(std::string_view text) {
  std::string shown;
  for (const char c : text.substr(0, 100))
    shown += c >= ' ' && c < 0x7f ? c : '?';
  return shown;
}

std::string repair_utf8(std::string_view text) {
  std::string repaired;
  while (true) {
    const size_t at = find_invalid_utf8(text);
    repaired += text.substr(0, at);
    if (at == std::string_view::npos) return repaired;
    repaired += "\xEF\xBF\xBD";
    text.remove_prefix(at);
    text.remove_prefix(ill_formed_bytes(text));
  }
}

}  // namespace keel::core
