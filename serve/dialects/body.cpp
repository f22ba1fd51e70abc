#include "serve/dialects/body.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json.h"
#include "serve/dialects/asked.h"
#include "serve/dialects/fields.h"

namespace keel::serve::dialects {

namespace {

constexpr int64_t kMostBytes = 1 << 26;                                     // of a text times the texts that it goes with
constexpr std::array kRepeated = {"query", "queries", "text_1", "data_1"};  // what goes with each of a list, where it is one text

bool nested_deeper(const std::string& body, int64_t most) {
  int64_t depth = 0;
  bool quoted = false;
  for (size_t i = 0; i < body.size(); ++i) {
    const char c = body[i];
    if (c == '"') quoted = !quoted;
    if (c == '\\' && quoted) ++i;
    if (quoted) continue;
    if (c == '[' || c == '{') ++depth;
    if (c == ']' || c == '}') --depth;
    if (depth > most) return true;
  }
  return false;
}

// Of all strings in a value.
int64_t bytes_in(const Json& value) {
  if (value.is_string()) return std::ssize(value.get_ref<const std::string&>());
  int64_t bytes = 0;
  if (value.is_structured())
    for (const Json& one : value)
      bytes += bytes_in(one);
  return bytes;
}

void append(const Json& value, std::string& text) {
  if (value.is_number_float()) {
    const std::string number = core::dump_json(value);
    text += number;
    if (number.find_first_not_of("-0123456789") == std::string::npos) text += ".0";
  } else if (value.is_structured()) {
    const bool object = value.is_object();
    text += object ? '{' : '[';
    for (auto one = value.begin(); one != value.end(); ++one) {
      if (one != value.begin()) text += ',';
      if (object) text += core::dump_json(one.key()) + ":";
      append(*one, text);
    }
    text += object ? '}' : ']';
  } else {
    text += core::dump_json(value);
  }
}

}  // namespace

std::string reply_body(const Json& reply) {
  std::string text;
  append(reply, text);
  return text;
}

Json parse_body(const std::string& body) {
  if (nested_deeper(body, kMostDepth)) throw Refused(Trouble::malformed, fmt::format("the body is nested over {} deep", kMostDepth));
  Json parsed;
  try {  // what a parser says of broken text may repeat it, so it is not passed on
    parsed = core::parse_json(body, "body");
  } catch (const core::DataError&) {
    throw Refused(Trouble::malformed, "the body is not JSON in UTF-8 (no key twice, no NaN)");
  }
  if (!parsed.is_object()) throw Refused(Trouble::malformed, "the body must be a JSON object");
  return parsed;
}

void check_lengths(const Json& body, int64_t most) {
  int64_t texts = 0, bytes = 0;
  for (const auto& [name, value] : body.items()) {
    if (std::ranges::find(kRepeated, name) != kRepeated.end() && (!is_list(value) || value.size() == 1))
      bytes = std::max(bytes, bytes_in(value));
    const bool dialogue = name == "messages" && value.is_array() && !value.empty() && value.front().is_object();
    if (value.is_array() && !value.empty() && !value.front().is_number() && !dialogue) texts = std::max(texts, std::ssize(value));
  }
  if (texts > most) throw Refused(Trouble::too_many, fmt::format("a request may hold at most {} texts", most));
  if (texts > 1 && texts * bytes > kMostBytes)
    throw Refused(Trouble::too_many, fmt::format("{} texts with a text of {} bytes each are too many", texts, bytes));
}

}  // namespace keel::serve::dialects
