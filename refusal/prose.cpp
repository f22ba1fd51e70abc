#include "refusal/prose.h"

#include <algorithm>
#include <utility>

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
  static const Pattern words(R"(\w(?s:.*))");
  return !words.matches(text).empty();
}

std::string lower(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

std::string without_contractions(std::string text) {
  static const std::vector<std::pair<Pattern, std::string>> forms = [] {
    std::vector<std::pair<Pattern, std::string>> made;
    for (const auto& [pattern, by] : {std::pair{R"(\bcan(?:'?t| not(?! only))\b)", "cannot"},
                                      {R"(\bwon't\b)", "will not"},
                                      {R"(\bdont\b)", "do not"},
                                      {R"((?<=\w)n't\b)", " not"},
                                      {R"((?<=\bi)'m\b)", " am"},
                                      {R"((?<=\w)'re\b)", " are"},
                                      {R"((?<=\w)'ll\b)", " will"},
                                      {R"((?<=\w)'ve\b)", " have"},
                                      {R"((?<=\bi|\bwe|\bit)'d\b)", " would"},
                                      {R"((?<=\bit|\bthat|\bthis|\bthere|\bhere|\bwhat)'s\b)", " is"}})
      made.emplace_back(Pattern(pattern), by);
    return made;
  }();
  for (const auto& [pattern, by] : forms)
    text = replaced(text, pattern, by);
  return text;
}

}  // namespace

std::string own_voice(std::string_view answer) {
  static const Pattern single_marks("[\u2018\u2019\u02bc\u00b4\uff07]"), double_marks("[\u201c\u201d]"),
      hard_blanks("[\u00a0\u2007\u202f]");
  static const Pattern label(R"(\A[\s*_#>"]{0,20}(?:final answer|answer|response|assistant|ai|output|a)\s?[*_]{0,2}:)");
  static const Pattern code(R"((?s)```.*?(?:```|\z)|`[^`\n]*`)");
  static const Pattern quoted_line(R"((?m)^[ \t]*>.*$)");
  // An apostrophe stands between letters.
  static const Pattern quotation(R"("[^"\n]*"|(?<!\w)'(?:[^'\n]|(?<=\w)'(?=\w)){0,400}'(?!\w))");
  static const Pattern letter(R"((?ms)^[ \t]*(?:subject:|dear ).*)");
  static const Pattern signed_letter(R"((?s)\A.*\b(?:sincerely|regards|yours (?:truly|faithfully)),\s+[^\n]{1,60}\s*\z)");
  static const Pattern handed_text(
      R"((?s)\A[^\n]{0,80}\b(?:here is|here's) (?:the|a|an|your|my|one)(?: \w+){0,3} (?:letter|e-?mail|message|note|reply|script|dialogue)"
      R"(|story|poem|song|draft|template|scene|speech|post|essay|sketch)\b[^\n]{0,80}:\K\s*\n.*)");
  static const Pattern emphasis(R"([*_#]+(?=\S)|(?<=\S)[*_#]+)"), double_mark(R"(")");

  std::string text = lower(core::repair_utf8(answer));
  text = replaced(replaced(replaced(text, single_marks, "'"), double_marks, "\""), hard_blanks, " ");
  text = replaced(text, label, " ");
  const std::string without_code = replaced(text, code, " ");
  text = replaced(replaced(without_code, quoted_line, " "), quotation, " ");
  if (!has_words(text)) text = replaced(without_code, double_mark, "");
  for (const Pattern* other : {&letter, &signed_letter, &handed_text})
    text = replaced(text, *other, " ");
  return without_contractions(replaced(text, emphasis, ""));
}

std::vector<Sentence> sentences(std::string_view own_voice) {
  static const Pattern item(R"(\A\s*(?:\d+[.)]|[-*\x{2022}+])\s)"), border(R"((?<=[.!?:])\s+)"), before_words(R"(\A\W+)");
  std::vector<Sentence> found;
  const auto add = [&](std::string_view piece, bool listed) {
    if (!has_words(piece)) return;
    const auto marks = before_words.matches(piece);
    const std::string text = data::single_spaced(marks.empty() ? piece : piece.substr(marks.front().end));
    std::string_view rest = text;
    while (rest.size() > kSentenceBytes) {
      const size_t blank = rest.rfind(' ', kSentenceBytes);
      if (blank != std::string_view::npos) found.push_back({std::string(rest.substr(0, blank)), listed});
      const size_t next = blank != std::string_view::npos ? blank : rest.find(' ');  // no word is that long
      rest = next != std::string_view::npos ? rest.substr(next + 1) : std::string_view();
    }
    if (!rest.empty()) found.push_back({std::string(rest), listed});
  };
  for (size_t from = 0; from < own_voice.size();) {
    const size_t end = std::min(own_voice.find('\n', from), own_voice.size());
    const std::string_view line = own_voice.substr(from, end - from);
    from = end + 1;
    if (!item.matches(line).empty()) {
      add(line, true);
      continue;
    }
    size_t begin = 0;
    for (const data::Span& match : border.matches(line)) {
      add(line.substr(begin, match.begin - begin), false);
      begin = match.end;
    }
    add(line.substr(begin), false);
  }
  if (found.size() == 1) found[0].listed = false;
  return found;
}

}  // namespace keel::refusal
