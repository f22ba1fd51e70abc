#include "data/template_steps.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>

namespace keel::data {
namespace {

// Template code between its delimiters, or text between such pieces.
struct Piece {
  char kind;  // '%' statement, '{' expression, 't' text
  std::string code;
};

// Cuts a template. {%- -%} remove the blanks beside them, {# #} is removed. As transformers configures Jinja, the line break after a
// statement and the blanks before a statement at the start of a line are removed too.
std::vector<Piece> cut_template(std::string_view text) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  std::vector<Piece> pieces;
  bool trim_next = false, after_block = false;
  while (!text.empty()) {
    size_t open = text.find('{');
    while (open != std::string_view::npos && open + 1 < text.size() &&
           std::string_view("%{#").find(text[open + 1]) == std::string_view::npos)
      open = text.find('{', open + 1);
    if (open != std::string_view::npos && open + 1 == text.size()) open = std::string_view::npos;
    std::string between(text.substr(0, open));
    if (trim_next) between.erase(0, std::min(between.find_first_not_of(" \t\r\n"), between.size()));
    if (!trim_next && after_block && between.starts_with('\n')) between.erase(0, 1);
    if (open == std::string_view::npos) {
      pieces.push_back({'t', between});
      break;
    }
    const char kind = text[open + 1];
    const bool trims_before = open + 2 < text.size() && text[open + 2] == '-';
    if (trims_before) {
      between.erase(between.find_last_not_of(" \t\r\n") + 1);
    } else if (kind != '{') {
      const size_t line = between.find_last_not_of(" \t") + 1;
      if (line == 0 ? pieces.empty() || after_block : between[line - 1] == '\n') between.erase(line);
    }
    pieces.push_back({'t', between});
    const std::string close = kind == '%' ? "%}" : kind == '{' ? "}}" : "#}";
    const size_t end = text.find(close, open + 2);
    if (end == std::string_view::npos) return {};  // not a template
    std::string code(text.substr(open + 2, end - open - 2));
    trim_next = code.ends_with('-');
    if (trims_before || code.starts_with('+')) code.erase(0, 1);
    if (trim_next && !code.empty()) code.pop_back();
    if (kind != '#') pieces.push_back({kind, code});
    after_block = kind != '{';
    text.remove_prefix(end + 2);
  }
  return pieces;
}

// Adds what the escape behind a backslash stands for, by Python's rules; returns where its last character stands. An escape that Python
// does not know keeps its backslash.
size_t resolve_escape(std::string_view code, size_t at, std::string& text) {
  constexpr std::string_view kNames = "ntrabfv\\'\"", kMeanings = "\n\t\r\a\b\f\v\\'\"";
  if (const size_t name = kNames.find(code[at]); name != std::string_view::npos) {
    text += kMeanings[name];
    return at;
  }
  const size_t digits = code[at] == 'x' ? 2 : code[at] == 'u' ? 4 : 0;
  const std::string number(code.substr(std::min(at + 1, code.size()), digits));
  const auto character = nlohmann::json::parse(fmt::format("\"\\u{:0>4}\"", number), nullptr, false);
  if (digits == 0 || number.size() < digits || character.is_discarded()) {
    text += '\\';
    text += code[at];
    return at;
  }
  text += character.get<std::string>();
  return at + digits;
}

std::string normal_code(std::string_view code) {
  std::string normal;
  for (size_t i = 0; i < code.size(); ++i) {
    const char c = code[i];
    if (c == '\'' || c == '"') {
      std::string text;
      for (++i; i < code.size() && code[i] != c; ++i) {
        if (code[i] != '\\' || i + 1 == code.size()) {
          text += code[i];
          continue;
        }
        i = resolve_escape(code, i + 1, text);
      }
      std::replace(text.begin(), text.end(), '\'', kQuote);
      const bool is_key = normal.ends_with('[') && i + 1 < code.size() && code[i + 1] == ']';
      if (is_key) {
        normal.pop_back();
        normal += "." + text;
        ++i;
      } else if (normal.ends_with("'+")) {
        normal.erase(normal.size() - 2);
        normal += text + "'";
      } else {
        normal += "'" + text + "'";
      }
    } else if (c == '~') {
      normal += '+';
    } else if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
      const bool word = !normal.empty() && std::isalnum(static_cast<unsigned char>(normal.back())) != 0;
      const size_t next = code.find_first_not_of(" \t\r\n", i);
      if (word && next != std::string_view::npos && (std::isalnum(static_cast<unsigned char>(code[next])) != 0 || code[next] == '_'))
        normal += ' ';
      i = std::min(next, code.size()) - 1;
    } else {
      normal += c;
    }
  }
  return normal;
}

// Text between pieces of code, as a string of the template language.
std::string as_string(std::string_view text) {
  std::string result = "'";
  for (const char c : text)
    result += c == '\'' || c == '\\' ? std::string("\\") + c : std::string(1, c);
  return result + "'";
}

}  // namespace

std::string with_quotes(std::string_view string) {
  std::string text(string);
  std::replace(text.begin(), text.end(), kQuote, '\'');
  return text;
}

std::vector<TemplateStep> template_steps(std::string_view text) {
  std::vector<TemplateStep> steps;
  std::string written;
  const auto flush = [&] {
    if (!written.empty()) steps.push_back({true, normal_code(written)});
    written.clear();
  };
  for (const Piece& piece : cut_template(text)) {
    if (piece.code.empty()) continue;
    if (piece.kind == '%') {
      flush();
      steps.push_back({false, normal_code(piece.code)});
    } else {
      written += (written.empty() ? "" : "+") + (piece.kind == 't' ? as_string(piece.code) : piece.code);
    }
  }
  flush();
  return steps;
}

}  // namespace keel::data
