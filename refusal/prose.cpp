#include "refusal/prose.h"

#include "core/utf8.h"
#include "data/pattern.h"
#include "data/text.h"

namespace keel::refusal {
namespace {

using data::Pattern;

std::string replaced(std::string_view text, const Pattern& pattern, std::string_view by) {
  std::string result;
  size_t from = 0;
  for (const data::Span& match : pattern.matches(text)) {
    result.append(text.substr(from, match.begin - from)).append(by);
    from = match.end;
  }
  return result.append(text.substr(from));
}

bool has_words(std::string_view text) {
  static const Pattern word(R"(\w)");
  return !word.matches(text).empty();
}

std::string lower(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

}  // namespace

std::string own_voice(std::string_view answer) {
  static const Pattern single_marks("[\u2018\u2019]"), double_marks("[\u201c\u201d]");
  static const Pattern code(R"((?s)```.*?(?:```|\z)|`[^`\n]*`)");
  static const Pattern quoted_line(R"((?m)^\s*>.*$)");
  static const Pattern quotation(R"("[^"\n]*"|(?<!\w)'(?:[^'\n]|(?<=\w)'(?=\w))*'(?!\w))");  // an apostrophe stands between letters
  static const Pattern letter(R"((?ms)^\s*(?:subject:|dear ).*)");
  static const Pattern emphasis(R"([*_#]+(?=\S)|(?<=\S)[*_#]+)"), double_mark(R"(")");

  std::string text = lower(core::repair_utf8(answer));
  text = replaced(replaced(text, single_marks, "'"), double_marks, "\"");
  const std::string without_code = replaced(text, code, " ");
  text = replaced(replaced(without_code, quoted_line, " "), quotation, " ");
  if (!has_words(text)) text = replaced(without_code, double_mark, "");
  return replaced(replaced(text, letter, " "), emphasis, "");
}

std::vector<std::string> sentences(std::string_view own_voice) {
  static const Pattern list_item(R"((?m)^\s*(?:\d+[.)]|[-*\x{2022}])\s.*$)");
  static const Pattern border(R"((?<=[.!?:])\s+|\s*\n\s*)");
  const std::string text = replaced(own_voice, list_item, "\n");
  std::vector<std::string> found;
  const auto add = [&](std::string_view piece) {
    if (has_words(piece)) found.push_back(data::single_spaced(piece));
  };
  size_t from = 0;
  for (const data::Span& match : border.matches(text)) {
    add(std::string_view(text).substr(from, match.begin - from));
    from = match.end;
  }
  add(std::string_view(text).substr(from));
  return found;
}

}  // namespace keel::refusal
