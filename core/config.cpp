// Reading settings: JSON objects and --set into the fields that visit() named, every problem reported at once.
#include "core/config.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/error.h"
#include "core/json.h"
#include "core/utf8.h"

namespace keel::core {
namespace {

using nlohmann::json;

std::string shown(const json& value) {
  std::string text = dump_json(value);
  if (text.size() <= 60) return text;
  text.resize(57);
  text.resize(std::min(text.size(), find_invalid_utf8(text)));  // not half a character
  return text + "...";
}

// The given value in error texts: "a number 2.7", "a string \"x\"", "null".
std::string what_came(const json& value) {
  if (value.is_null()) return "null";
  if (value.is_object()) return "an object";
  const char* kind = value.is_string() ? "the string " : value.is_array() ? "the list " : value.is_boolean() ? "" : "the number ";
  return kind + shown(value);
}

// Each read() gives the value of one JSON type, or nothing when the JSON is of another; required() names that type.
template <class T>
struct FieldType;

template <>
struct FieldType<bool> {
  static std::string required() { return "true or false"; }
  static std::optional<bool> read(const json& value) { return value.is_boolean() ? std::optional(value.get<bool>()) : std::nullopt; }
};

template <>
struct FieldType<int64_t> {
  static std::string required() { return "an integer"; }
  static std::optional<int64_t> read(const json& value) {
    if (value.is_number_unsigned() && value.get<uint64_t>() > uint64_t{INT64_MAX}) return std::nullopt;
    if (value.is_number_integer()) return value.get<int64_t>();
    if (!value.is_number_float()) return std::nullopt;
    const double number = value.get<double>();  // 1e6 is an integer, 2.7 is not
    return std::abs(number) <= 0x1p53 && number == std::floor(number) ? std::optional(static_cast<int64_t>(number)) : std::nullopt;
  }
};

template <>
struct FieldType<double> {
  static std::string required() { return "a number"; }
  static std::optional<double> read(const json& value) {
    return value.is_number() && std::isfinite(value.get<double>()) ? std::optional(value.get<double>()) : std::nullopt;
  }
};

template <>
struct FieldType<std::string> {
  static std::string required() { return "a string"; }
  static std::optional<std::string> read(const json& value) {
    return value.is_string() ? std::optional(value.get<std::string>()) : std::nullopt;
  }
};

template <class T>
struct FieldType<std::vector<T>> {
  static std::string required() { return "a list, each element " + FieldType<T>::required(); }
  static std::optional<std::vector<T>> read(const json& value) {
    if (!value.is_array()) return std::nullopt;
    std::vector<T> list;
    for (const json& element : value) {
      std::optional<T> one = FieldType<T>::read(element);
      if (!one) return std::nullopt;
      list.push_back(std::move(*one));
    }
    return list;
  }
};

// The type that is read for a target: an enum is read as its name.
template <class Target>
struct JsonOf {
  using Type = std::remove_pointer_t<Target>;
};
template <>
struct JsonOf<EnumPointer> {
  using Type = std::string;
};

bool satisfies(const Check&, bool) {
  return true;
}
bool satisfies(const Check& check, int64_t value) {
  return !check.number || check.number(static_cast<double>(value));
}
bool satisfies(const Check& check, double value) {
  return !check.number || check.number(value);
}
bool satisfies(const Check& check, const std::string& value) {
  return !check.text || check.text(value);
}
template <class T>
bool satisfies(const Check& check, const std::vector<T>& list) {
  return std::all_of(list.begin(), list.end(), [&](const T& element) { return satisfies(check, element); });
}

template <class T>
void store(T* target, T value) {
  *target = std::move(value);
}
void store(const EnumPointer& target, const std::string& name) {
  target.assign(name);
}

void assign_objects(const Field& field, const ObjectsPointer& list, const json& value, const std::string& origin,
                    std::vector<std::string>& problems) {
  if (!value.is_array()) {
    problems.push_back(origin + ": " + field.name + " must be a list of objects, got " + what_came(value));
    return;
  }
  list.reset(value.size());
  for (size_t i = 0; i < value.size(); ++i) {
    const std::string element = origin + ": " + field.name + "[" + std::to_string(i) + "]";
    assign(list.at(i), value[i], element, problems);
    for (const std::string& name : list.required) {
      if (value[i].is_object() && !value[i].contains(name)) problems.push_back(element + ": \"" + name + "\" is missing");
    }
  }
}

void assign_field(const Field& field, const json& value, const std::string& origin, std::vector<std::string>& problems) {
  if (const auto* list = std::get_if<ObjectsPointer>(&field.value)) return assign_objects(field, *list, value, origin, problems);
  std::visit(
      [&]<class Target>(const Target& target) {
        if constexpr (!std::is_same_v<Target, ObjectsPointer>) {
          using T = typename JsonOf<Target>::Type;
          std::optional<T> read = FieldType<T>::read(value);
          if (!read) {
            problems.push_back(origin + ": " + field.name + " must be " + FieldType<T>::required() + ", got " + what_came(value));
          } else if (!satisfies(field.check, *read)) {
            problems.push_back(origin + ": " + field.name + " must be " + field.check.rule + ", got " + what_came(value));
          } else {
            store(target, std::move(*read));
          }
        }
      },
      field.value);
}

const Field* find_field(const Fields& fields, const std::string& name) {
  const auto& list = fields.list();
  const auto found = std::find_if(list.begin(), list.end(), [&](const Field& field) { return field.name == name; });
  return found == list.end() ? nullptr : &*found;
}

bool is_section(const Fields& fields, const std::string& name) {
  const auto& list = fields.sections();
  return std::any_of(list.begin(), list.end(), [&](const Section& section) { return section.prefix == name + "."; });
}

std::string last_part(const std::string& name) {
  return name.substr(name.rfind('.') + 1);
}

// The known (dotted) name closest to an unknown one: in the same section, or with the same spelling in another; "" for none.
std::string meant_name(const Fields& fields, const std::string& wrong) {
  std::vector<std::string> names;
  for (const Field& field : fields.list())
    names.push_back(field.name);
  for (const auto& section : fields.sections())
    names.push_back(section.prefix.substr(0, section.prefix.size() - 1));

  const std::string prefix = wrong.substr(0, wrong.size() - last_part(wrong).size());
  std::vector<std::string> siblings;
  for (const std::string& name : names) {
    if (name.starts_with(prefix) && name.find('.', prefix.size()) == std::string::npos) siblings.push_back(name.substr(prefix.size()));
  }
  if (const std::string near = nearest_name(last_part(wrong), siblings); !near.empty()) return prefix + near;
  for (const std::string& name : names) {
    if (last_part(name) == last_part(wrong)) return name;
  }
  return nearest_name(wrong, names);
}

std::string unknown_key(const Fields& fields, const std::string& name, const std::string& origin) {
  const std::string meant = meant_name(fields, name);
  return origin + ": unknown key \"" + name + "\"" +
         (meant.empty() ? "; no known key is spelt alike, --help lists them" : "; did you mean \"" + meant + "\"?");
}

std::string dotted_key(const std::string& name, const std::string& origin) {
  return origin + ": \"" + name + "\" must be written as nested objects, {\"" + name.substr(0, name.find('.')) +
         "\": {...}}; dotted names are for --set";
}

void assign_members(const Fields& fields, const json& object, const std::string& prefix, const std::string& origin,
                    std::vector<std::string>& problems);

void assign_member(const Fields& fields, const std::string& name, const json& value, const std::string& origin,
                   std::vector<std::string>& problems) {
  if (const Field* field = find_field(fields, name); field != nullptr) {
    assign_field(*field, value, origin, problems);
  } else if (!is_section(fields, name)) {
    problems.push_back(unknown_key(fields, name, origin));
  } else if (const Field* enabled = find_field(fields, name + ".enabled"); value.is_null() && enabled != nullptr) {
    assign_field(*enabled, false, origin, problems);
  } else if (!value.is_object()) {
    problems.push_back(origin + ": " + name + " is a section and must be an object, got " + what_came(value));
  } else {
    assign_members(fields, value, name + ".", origin, problems);
  }
}

void assign_members(const Fields& fields, const json& object, const std::string& prefix, const std::string& origin,
                    std::vector<std::string>& problems) {
  for (const auto& [key, value] : object.items()) {
    if (key.find('.') == std::string::npos) {
      assign_member(fields, prefix + key, value, origin, problems);
    } else {  // "kl.coef" must not reach the field that {"kl": {"coef"}} may set too
      problems.push_back(dotted_key(prefix + key, origin));
    }
  }
}

}  // namespace

void assign(const Fields& fields, const json& object, const std::string& origin, std::vector<std::string>& problems) {
  if (!object.is_object()) {
    problems.push_back(origin + ": settings must be a JSON object, got " + what_came(object));
    return;
  }
  assign_members(fields, object, "", origin, problems);
}

void assign_file(const Fields& fields, const std::string& path, std::vector<std::string>& problems) {
  try {
    assign(fields, read_json_file(path), path, problems);
  } catch (const DataError& error) {  // not JSON
    problems.emplace_back(error.what());
  }
}

void assign_setting(const Fields& fields, std::string_view setting, std::vector<std::string>& problems) {
  if (find_invalid_utf8(setting) != std::string_view::npos) {
    problems.push_back("--set: a setting must be valid UTF-8");
    return;
  }
  const std::string origin = "--set " + std::string(setting);
  const size_t equals = setting.find('=');
  if (equals == std::string_view::npos || equals == 0) {
    problems.push_back(origin + ": must have the form key=value");
    return;
  }
  const std::string name(setting.substr(0, equals));
  const std::string text(setting.substr(equals + 1));
  const Field* field = find_field(fields, name);
  if (field == nullptr && text == "null" && find_field(fields, name + ".enabled") != nullptr) {
    assign_member(fields, name, nullptr, origin, problems);
    return;
  }
  if (field == nullptr) {
    problems.push_back(is_section(fields, name)
                           ? origin + ": " + name + " is a section; set its fields one by one, " + name + ".FIELD=value"
                           : unknown_key(fields, name, origin));
    return;
  }
  json value = text;
  if (!std::holds_alternative<std::string*>(field->value) && !std::holds_alternative<EnumPointer>(field->value)) {
    try {
      value = parse_json(text, "", 1);
    } catch (const DataError&) {
      // not JSON: assign_field() says what was required and quotes the text
    }
  }
  assign_field(*field, value, origin, problems);
}

void add_problems(std::vector<std::string>& problems, const std::string& section, const std::vector<std::string>& of_section) {
  for (const auto& problem : of_section)
    problems.push_back(section + problem);
}

std::vector<std::string> only_in(const Fields& fields, const Field& field) {
  std::vector<std::string> conditions;
  for (const Section& section : fields.sections())
    if (field.name.starts_with(section.prefix) && field.name != section.prefix + "enabled")
      conditions.insert(conditions.end(), section.only_in.begin(), section.only_in.end());
  conditions.insert(conditions.end(), field.only_in.begin(), field.only_in.end());
  return conditions;
}

void throw_if_any(std::vector<std::string> problems) {
  if (!problems.empty()) throw ConfigError(std::move(problems));
}

std::string nearest_name(std::string_view wrong, const std::vector<std::string>& known) {
  const auto plain = [](std::string_view name) {  // ignores case, and - against _
    std::string text(name);
    for (char& c : text)
      c = c == '-' ? '_' : static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    return text;
  };
  // Edits: insertion, deletion, substitution, swap of neighbours (optimal string alignment).
  const auto distance = [](const std::string& a, const std::string& b) {
    std::vector<std::vector<size_t>> d(a.size() + 1, std::vector<size_t>(b.size() + 1));
    for (size_t i = 0; i <= a.size(); ++i)
      d[i][0] = i;
    for (size_t j = 0; j <= b.size(); ++j)
      d[0][j] = j;
    for (size_t i = 1; i <= a.size(); ++i) {
      for (size_t j = 1; j <= b.size(); ++j) {
        d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0u : 1u)});
        if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
      }
    }
    return d[a.size()][b.size()];
  };
  const std::string text = plain(wrong).substr(0, 200);
  std::string best;
  size_t best_distance = std::max<size_t>(1, text.size() / 3) + 1;
  for (const std::string& name : known) {
    const size_t edits = distance(text, plain(name));
    if (edits < best_distance && edits < name.size()) {
      best = name;
      best_distance = edits;
    }
  }
  return best;
}

}  // namespace keel::core
