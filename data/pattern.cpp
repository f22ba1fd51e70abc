#include "data/pattern.h"

#include <fmt/format.h>

#include <stdexcept>

#include "core/utf8.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace keel::data {
namespace {

std::string pcre2_message(int error) {
  PCRE2_UCHAR buffer[256];
  pcre2_get_error_message(error, buffer, sizeof buffer);
  return reinterpret_cast<const char*>(buffer);
}

// The tokenizers' own engine takes \s as the Unicode property White_Space; PCRE2's \s also has U+180E.
std::string with_unicode_blanks(std::string_view expression) {
  std::string result;
  for (size_t i = 0; i < expression.size(); ++i) {
    result += expression[i];
    if (expression[i] != '\\' || i + 1 == expression.size()) continue;
    const char escaped = expression[++i];
    result += escaped == 's' ? "p{White_Space}" : escaped == 'S' ? "P{White_Space}" : std::string(1, escaped);
  }
  return result;
}

// Calls use(match data) for successive matches that are not empty.
template <class Use>
void each_match(const pcre2_code* code, std::string_view text, Use&& use) {
  const std::unique_ptr<pcre2_match_data, void (*)(pcre2_match_data*)> data(pcre2_match_data_create_from_pattern(code, nullptr),
                                                                            pcre2_match_data_free);
  for (size_t from = 0; from < text.size();) {
    const auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    int result = pcre2_match(code, subject, text.size(), from, PCRE2_NO_UTF_CHECK, data.get(), nullptr);
    if (result == PCRE2_ERROR_JIT_STACKLIMIT) {  // the interpreter keeps its stack on the heap
      result = pcre2_match(code, subject, text.size(), from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, data.get(), nullptr);
    }
    if (result == PCRE2_ERROR_NOMATCH) break;
    if (result < 0) throw std::runtime_error("[data.pattern] matching failed: " + pcre2_message(result));
    const PCRE2_SIZE* found = pcre2_get_ovector_pointer(data.get());
    if (found[1] > found[0]) {
      use(data.get());
      from = found[1];
    } else {
      if (found[0] >= text.size()) break;
      from = std::max(found[0], from) + core::character_bytes(text[std::max(found[0], from)]);
    }
  }
}

}  // namespace

Pattern::Pattern(std::string_view expression) {
  const std::string text = with_unicode_blanks(expression);
  int error = 0;
  PCRE2_SIZE offset = 0;
  code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), PCRE2_UTF | PCRE2_UCP, &error, &offset, nullptr),
              [](pcre2_code* code) { pcre2_code_free(code); });
  if (!code_) throw std::invalid_argument(fmt::format("pattern '{}' cannot be compiled: {}", expression, pcre2_message(error)));
  pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE);  // if it fails, PCRE2 interprets the pattern
}

std::string Pattern::quoted(std::string_view text) {
  std::string expression;
  for (const char c : text) {
    const bool plain = static_cast<unsigned char>(c) >= 0x80 || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    if (!plain) expression += '\\';
    expression += c;
  }
  return expression;
}

std::vector<Span> Pattern::matches(std::string_view text) const {
  std::vector<Span> spans;
  each_match(code_.get(), text, [&](pcre2_match_data* data) {
    const PCRE2_SIZE* found = pcre2_get_ovector_pointer(data);
    spans.push_back({found[0], found[1]});
  });
  return spans;
}

int Pattern::groups() const {
  uint32_t count = 0;
  pcre2_pattern_info(code_.get(), PCRE2_INFO_CAPTURECOUNT, &count);
  return static_cast<int>(count);
}

std::optional<Span> Pattern::last_group(std::string_view text) const {
  std::optional<Span> last;
  each_match(code_.get(), text, [&](pcre2_match_data* data) {
    const PCRE2_SIZE* found = pcre2_get_ovector_pointer(data);
    if (pcre2_get_ovector_count(data) > 1 && found[2] != PCRE2_UNSET) last = {found[2], found[3]};
  });
  return last;
}

}  // namespace keel::data
