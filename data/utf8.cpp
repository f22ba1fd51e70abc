#include "data/utf8.h"

#include <fmt/format.h>

#include <stdexcept>

#include "core/utf8.h"

namespace keel::data {
namespace {

// Bytes at the start of `text` that one U+FFFD stands for: the longest beginning of some character, at least one byte.
size_t ill_formed_bytes(std::string_view text) {
  const size_t whole = character_bytes(text[0]);
  size_t length = 1;
  for (; length < whole && length < text.size(); ++length) {
    std::string completed(text.substr(0, length + 1));
    completed.resize(whole, '\x80');
    if (core::find_invalid_utf8(completed) != std::string_view::npos) break;
  }
  return length;
}

}  // namespace

void require_utf8(std::string_view text) {
  const size_t at = core::find_invalid_utf8(text);
  if (at == std::string_view::npos) return;
  throw std::invalid_argument(fmt::format("text must be UTF-8, byte {} ({:#04x}) is not", at, static_cast<unsigned char>(text[at])));
}

size_t character_bytes(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

std::string repair_utf8(std::string_view text) {
  std::string repaired;
  while (true) {
    const size_t at = core::find_invalid_utf8(text);
    repaired += text.substr(0, at);
    if (at == std::string_view::npos) return repaired;
    repaired += "\xEF\xBF\xBD";
    text.remove_prefix(at);
    text.remove_prefix(ill_formed_bytes(text));
  }
}

}  // namespace keel::data
