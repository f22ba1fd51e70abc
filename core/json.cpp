// JSON in through nlohmann's SAX interface, which shows duplicate keys and depth during parsing; out with shortest numbers.
#include "core/json.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/file_kind.h"
#include "core/files.h"
#include "core/utf8.h"

namespace keel::core {
namespace {

using nlohmann::json;

constexpr size_t kMaxJsonDepth = 64;

// Reads characters and remembers, in `*reached`, how far the parser has come: the parser's callbacks get no position.
struct TrackedText {
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  const char* at;
  const char** reached;

  reference operator*() const { return *at; }
  TrackedText& operator++() {
    *reached = ++at;
    return *this;
  }
  TrackedText operator++(int) {
    const TrackedText before = *this;
    ++*this;
    return before;
  }
  bool operator==(const TrackedText& other) const { return at == other.at; }
  bool operator!=(const TrackedText& other) const { return at != other.at; }
};

// Builds the value; returns false to the parser (which stops) with `problem` set when something is refused.
class JsonBuilder : public nlohmann::json_sax<json> {
 public:
  json root;
  std::string problem;

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t&) override { return add(value); }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t&) override { return false; }  // never called for JSON text
  bool start_object(size_t) override { return open(json::object()); }
  bool start_array(size_t) override { return open(json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    json& object = *open_.back();
    if (object.contains(name)) {
      problem = "duplicate key " + json(name).dump() + "; an object may name each key once";
      return false;
    }
    member_ = &object[name];
    return true;
  }

  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception& error) override {
    problem = reason(error.what());
    return false;
  }

 private:
  // "[json.exception...] parse error at line 1, column 5: syntax error while parsing value - why; last read: '...'" -> why.
  static std::string reason(std::string text) {
    if (const size_t column = text.find("column "); column != std::string::npos) {
      if (const size_t colon = text.find(": ", column); colon != std::string::npos) text.erase(0, colon + 2);
    } else if (const size_t bracket = text.find("] "); bracket != std::string::npos) {
      text.erase(0, bracket + 2);
    }
    if (text.find("ill-formed UTF-8") != std::string::npos) return "invalid UTF-8";
    if (const size_t read = text.find("; last read: '"); read != std::string::npos) {
      const size_t end = text.rfind('\'');
      if (end > read + 14 + 60 || find_invalid_utf8(text) != std::string::npos) text.erase(read, end + 1 - read);
    }
    if (find_invalid_utf8(text) != std::string::npos) return "syntax error";
    return text.size() > 300 ? text.substr(0, 300) + "..." : text;
  }

  json* add(json value) {
    if (open_.empty()) return &(root = std::move(value));
    if (open_.back()->is_array()) return &open_.back()->emplace_back(std::move(value));
    return &(*member_ = std::move(value));
  }

  bool open(json empty) {
    if (open_.size() == kMaxJsonDepth) {
      problem = "nested deeper than " + std::to_string(kMaxJsonDepth) + " levels";
      return false;
    }
    open_.push_back(add(std::move(empty)));
    return true;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  std::vector<json*> open_;  // objects and arrays not yet closed; a parent does not grow while a child is open, so these stay valid
  json* member_ = nullptr;
};

void append_number(double value, std::string& out) {
  if (!std::isfinite(value)) {
    out += "null";
    return;
  }
  if (value == 0 && std::signbit(value)) {
    out += "-0.0";  // "-0" would be read back as the integer 0
    return;
  }
  char digits[32];
  out.append(digits, std::to_chars(digits, digits + sizeof digits, value).ptr);
}

void append_json(const json& value, std::string& out) {
  bool first = true;
  const auto separate = [&] {
    if (!first) out += ',';
    first = false;
  };
  if (value.is_object()) {
    out += '{';
    for (const auto& [name, member] : value.items()) {
      separate();
      append_json(json(name), out);
      out += ':';
      append_json(member, out);
    }
    out += '}';
  } else if (value.is_array()) {
    out += '[';
    for (const json& element : value) {
      separate();
      append_json(element, out);
    }
    out += ']';
  } else if (value.is_number_float()) {
    append_number(value.get<double>(), out);
  } else if (value.is_string() && find_invalid_utf8(value.get_ref<const std::string&>()) != std::string::npos) {
    throw std::invalid_argument("[dump_json] a JSON string must be valid UTF-8; decoded text replaces broken bytes by U+FFFD first");
  } else {
    out += value.dump();
  }
}

}  // namespace

json parse_json(std::string_view text, const std::string& origin, int64_t first_line, bool comments) {
  const char* reached = text.data();
  const auto fail = [&](const std::string& problem) {
    // The character that was refused is the last one read.
    const size_t offset = reached == text.data() ? 0 : static_cast<size_t>(reached - text.data()) - 1;
    const std::string_view before = text.substr(0, offset);
    const auto line = first_line + std::count(before.begin(), before.end(), '\n');
    const size_t line_start = before.rfind('\n') == std::string_view::npos ? 0 : before.rfind('\n') + 1;
    throw DataError(origin, line, "invalid JSON at byte " + std::to_string(offset - line_start + 1) + " of the line: " + problem);
  };
  if (const size_t zero = text.find('\0'); zero != std::string_view::npos) {  // nlohmann would take it for the end of the text
    reached = text.data() + zero + 1;
    fail("a zero byte");
  }
  JsonBuilder builder;
  const TrackedText begin{text.data(), &reached}, end{text.data() + text.size(), &reached};
  if (!json::sax_parse(begin, end, &builder, json::input_format_t::json, true, comments)) fail(builder.problem);
  return std::move(builder.root);
}

json read_json_file(const std::filesystem::path& path) {
  const std::string text = read_file(path);
  refuse_other_file(text, path.string(), WholeFile::json);
  return parse_json(text, path.string(), 1, true);
}

std::string dump_json(const json& value) {
  std::string out;
  append_json(value, out);
  return out;
}

}  // namespace keel::core
