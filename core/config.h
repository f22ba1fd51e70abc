// Settings: plain structs with defaults. Beside each struct stands one function
//
//     inline void visit(GaeConfig& config, core::Fields& fields) {
//       fields("gamma", config.gamma, "discount per token", core::between(0.0, 1.0));
//       fields("kl.coef", ...)                       // no: nested settings are structs of their own:
//       fields.section("kl", config.kl, "penalty against the reference policy");
//     }
//
// that names every field once. JSON in and out, --set, --help, range checks and the list of departures from the defaults all read it.
//
// A setting that takes one of a few names is an enum, so that a misspelt comparison does not compile. Beside the enum stands its list,
//
//     enum class Placement { reward, loss };
//     constexpr auto names(Placement) {
//       return std::to_array<core::Named<Placement>>({{Placement::reward, "reward"}, {Placement::loss, "loss"}});
//     }
//
// and everywhere outside the program the setting is the string of that name.
//
// `only_in` of a field or section lists the conditions under which it is read, e.g. {"sandbox"}. The code that knows the whole
// configuration refuses a field that is set although nothing reads it (only_in() lists a field's conditions).
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace keel::core {

template <class E>
struct Named {
  E value;
  std::string_view name;
};

template <class E>
concept NamedEnum = std::is_enum_v<E> && requires(E value) {
  names(value);
};

template <NamedEnum E>
std::string name_of(E value) {
  for (const Named<E>& known : names(value))
    if (known.value == value) return std::string(known.name);
  throw std::logic_error("an enum setting holds a value that its names() leaves out");
}

// An enum of any type, by its names.
struct EnumPointer {
  std::function<std::string()> name;
  std::function<void(const std::string&)> assign;  // an unknown name changes nothing
};

class Fields;

// A list of structs, each with a visit() of its own.
struct ObjectsPointer {
  std::function<size_t()> size;
  std::function<void(size_t)> reset;   // to that many elements, all default
  std::function<Fields(size_t)> at;    // the fields of an element
  std::function<Fields()> of_default;  // the fields of a default element
  std::vector<std::string> required;   // fields that every element must name
};

using FieldPointer = std::variant<bool*, int64_t*, double*, std::string*, std::vector<int64_t>*, std::vector<double>*,
                                  std::vector<std::string>*, EnumPointer, ObjectsPointer>;

// What a value must satisfy. `rule` is shown in --help and errors ("in [0, 1]"); numbers and the elements of lists are checked by
// `number`, strings (and their lists) by `text`.
struct Check {
  std::string rule;
  std::function<bool(double)> number;
  std::function<bool(const std::string&)> text;
  std::string schema = {};         // the rule as members of a JSON Schema: {"minimum":0,"maximum":1}
  bool keyed = true;               // false: a path or access detail that cannot change a result; see key_json()
  std::string unkeyed_value = {};  // JSON of the value with which the field is left out of keys; "" = none
};
Check between(double low, double high);          // low <= x <= high
Check half_open(double low, double high);        // low <= x < high
Check above(double low);                         // x > low
Check at_least(double low);                      // x >= low
Check one_of(std::vector<std::string> allowed);  // a string from a list
Check unkeyed(Check check = {});                 // `check` for a field that is not part of a key
// `check` for a field that is part of a key unless it has the value `json`: a setting that came later and whose default does what was done
// before leaves the keys of earlier results as they are.
Check unkeyed_at(std::string json, Check check = {});

struct Field {
  std::string name;  // dotted path: "kl.coef"
  std::string help;  // what it is, with its unit
  FieldPointer value;
  Check check;
  std::vector<std::string> only_in = {};  // conditions under which it is read; empty: always
};

struct Section {
  std::string prefix;  // "kl."
  std::string help;
  std::vector<std::string> only_in = {};  // conditions of all its fields
};

// Collects pointers to the fields of one config object, which must outlive it.
class Fields {
 public:
  template <class T>
  requires(!std::is_enum_v<T>) void operator()(std::string_view name, T& value, std::string_view help, Check check = {},
                                               std::vector<std::string> only_in = {}) {
    list_.push_back({prefix_ + std::string(name), std::string(help), FieldPointer(&value), std::move(check), std::move(only_in)});
  }
  template <NamedEnum E>
  void operator()(std::string_view name, E& value, std::string_view help, std::vector<std::string> only_in = {}) {
    std::vector<std::string> allowed;
    for (const Named<E>& known : names(value))
      allowed.emplace_back(known.name);
    const auto assign = [&value](const std::string& given) {
      for (const Named<E>& known : names(value))
        if (known.name == given) value = known.value;
    };
    list_.push_back({prefix_ + std::string(name), std::string(help), EnumPointer{[&value] { return name_of(value); }, assign},
                     one_of(std::move(allowed)), std::move(only_in)});
  }
  template <class Element>
  void objects(std::string_view name, std::vector<Element>& list, std::string_view help, const std::vector<std::string>& required = {}) {
    const auto of = [](Element& element) {
      Fields fields;
      visit(element, fields);
      return fields;
    };
    ObjectsPointer pointer{.size = [&list] { return list.size(); },
                           .reset = [&list](size_t count) { list.assign(count, Element{}); },
                           .at = [&list, of](size_t i) { return of(list.at(i)); },
                           .of_default =
                               [of] {
                                 static Element element;
                                 return of(element);
                               },
                           .required = required};
    list_.push_back({prefix_ + std::string(name), std::string(help), std::move(pointer), {}, {}});
  }
  // A section with a field `enabled` may be given as null, which sets that field to false.
  template <class Config>
  void section(std::string_view name, Config& config, std::string_view help, std::vector<std::string> only_in = {}) {
    const std::string outer = prefix_;
    prefix_ += std::string(name) + ".";
    sections_.push_back({prefix_, std::string(help), std::move(only_in)});
    visit(config, *this);
    prefix_ = outer;
  }
  const std::vector<Field>& list() const { return list_; }
  const std::vector<Section>& sections() const { return sections_; }

 private:
  std::string prefix_;
  std::vector<Field> list_;
  std::vector<Section> sections_;
};

template <class Config>
Fields fields_of(Config& config) {
  Fields fields;
  visit(config, fields);
  return fields;
}

// Assigns the members of a JSON object (nested objects are sections). Adds every unknown key (with the nearest known name), wrong type (2.7
// is not an integer; 2 is a valid double) and value out of range to `problems`, prefixed by `origin`; throws nothing.
void assign(const Fields& fields, const nlohmann::json& object, const std::string& origin, std::vector<std::string>& problems);

// The same from a JSON file with comments; errors of the file or its JSON are problems too. UsageError when the file is missing.
void assign_file(const Fields& fields, const std::string& path, std::vector<std::string>& problems);

// "key=value" of --set. The value is JSON, but a string field takes the text as it is.
void assign_setting(const Fields& fields, std::string_view setting, std::vector<std::string>& problems);

// Adds the problems of a section to those of the whole, after its name: "lora." and "rank must ..." give "lora.rank must ...".
void add_problems(std::vector<std::string>& problems, const std::string& section, const std::vector<std::string>& of_section);

void throw_if_any(std::vector<std::string> problems);  // ConfigError

// The conditions under which a field is read: those of its sections, outermost first, then its own. A section's `enabled` has only the
// latter.
std::vector<std::string> only_in(const Fields& fields, const Field& field);

nlohmann::json to_json(const Fields& fields);  // nested objects, as assign() reads them
template <class Config>
auto json_of(Config config) {  // the same for a struct
  return to_json(fields_of(config));
}
nlohmann::json key_json(const Fields& fields);  // the settings that decide a result: see unkeyed() and unkeyed_at()
template <class Config>
auto key_json_of(Config config) {
  return key_json(fields_of(config));
}
std::string help_text(const Fields& fields);       // one line a field: name, type, default, help and rule
nlohmann::json json_schema(const Fields& fields);  // JSON Schema 2020-12 object
std::string nearest_name(std::string_view wrong, const std::vector<std::string>& known);  // "" when nothing is near

// Fields whose values differ: (name, value in a, value in b) as JSON texts. Both must visit the same struct type.
struct Difference {
  std::string name, a, b;
  bool keyed = true;  // as Check::keyed
};
std::vector<Difference> differences(const Fields& a, const Fields& b);
template <class Config>
auto set_fields(Config config) {  // fields that differ from their default, which is `b`
  Config defaults;
  return differences(fields_of(config), fields_of(defaults));
}

}  // namespace keel::core
