// Showing settings: rules, JSON out, --help, JSON Schema, differences.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/config.h"
#include "core/json.h"

namespace keel::core {
namespace {

using nlohmann::json;

std::string short_number(double value) {
  return dump_json(json(value));
}

template <class T>
json value_at(const T* value) {
  return json(*value);
}
json value_at(const EnumPointer& value) {
  return json(value.name());
}
json value_at(const ObjectsPointer& list) {
  json array = json::array();
  for (size_t i = 0; i < list.size(); ++i)
    array.push_back(to_json(list.at(i)));
  return array;
}

json field_value(const Field& field) {
  return std::visit([](const auto& value) { return value_at(value); }, field.value);
}

json key_value(const Field& field) {
  const auto* list = std::get_if<ObjectsPointer>(&field.value);
  if (list == nullptr) return field_value(field);
  json array = json::array();
  for (size_t i = 0; i < list->size(); ++i)
    array.push_back(key_json(list->at(i)));
  return array;
}

struct TypeNames {
  const char* help;
  const char* schema;
  bool list;
};

TypeNames type_names(const FieldPointer& pointer) {
  static constexpr TypeNames kNames[] = {{"bool", "boolean", false}, {"integer", "integer", false}, {"number", "number", false},
                                         {"text", "string", false},  {"integers", "integer", true}, {"numbers", "number", true},
                                         {"texts", "string", true},  {"text", "string", false},     {"objects", "object", true}};
  static_assert(std::size(kNames) == std::variant_size_v<FieldPointer>);
  return kNames[pointer.index()];
}

// The object that holds member "c" of "a.b.c", inside nested objects of `inner` (schema) or directly (values).
json& parent_object(json& root, const std::string& name, const char* inner) {
  json* object = &root;
  size_t begin = 0;
  for (size_t dot = name.find('.'); dot != std::string::npos; begin = dot + 1, dot = name.find('.', begin)) {
    if (inner != nullptr) object = &(*object)[inner];
    object = &(*object)[name.substr(begin, dot - begin)];
  }
  return inner != nullptr ? (*object)[inner] : *object;
}

std::string last_name(const std::string& name) {
  return name.substr(name.rfind('.') + 1);
}

// The field's own conditions, its help and its rule: "sandbox: comparisons of each kind; at least 20".
std::string described(const Field& field) {
  std::string text;
  for (const std::string& condition : field.only_in)
    text += condition + (&condition == &field.only_in.back() ? ": " : ", ");
  text += field.help;
  return field.check.rule.empty() ? text : text + "; " + field.check.rule;
}

std::string described(const Section& section) {
  std::string text = section.help;
  for (const std::string& condition : section.only_in)
    text += (&condition == &section.only_in.front() ? "; only in: " : ", ") + condition;
  return text;
}

json empty_schema() {
  return {{"type", "object"}, {"properties", json::object()}, {"additionalProperties", false}};
}

json object_schema(const Fields& fields);

json field_schema(const Field& field) {
  const TypeNames names = type_names(field.value);
  const auto* objects = std::get_if<ObjectsPointer>(&field.value);
  json element = objects != nullptr ? object_schema(objects->of_default()) : json{{"type", names.schema}};
  if (objects != nullptr && !objects->required.empty()) element["required"] = objects->required;
  if (!field.check.schema.empty()) element.update(json::parse(field.check.schema));
  json schema = names.list ? json{{"type", "array"}, {"items", std::move(element)}} : std::move(element);
  schema["description"] = described(field);
  schema["default"] = field_value(field);
  return schema;
}

json object_schema(const Fields& fields) {
  json root = empty_schema();
  for (const Section& section : fields.sections()) {
    const std::string name = section.prefix.substr(0, section.prefix.size() - 1);
    json schema = empty_schema();
    schema["description"] = described(section);
    const bool optional = std::any_of(fields.list().begin(), fields.list().end(),
                                      [&](const Field& field) { return field.name == section.prefix + "enabled"; });
    if (optional) schema["type"] = {"object", "null"};
    parent_object(root, name, "properties")[last_name(name)] = std::move(schema);
  }
  for (const Field& field : fields.list())
    parent_object(root, field.name, "properties")[last_name(field.name)] = field_schema(field);
  return root;
}

}  // namespace

Check between(double low, double high) {
  return {"in [" + short_number(low) + ", " + short_number(high) + "]", [=](double x) { return low <= x && x <= high; }, nullptr,
          dump_json({{"minimum", low}, {"maximum", high}})};
}

Check half_open(double low, double high) {
  return {"in [" + short_number(low) + ", " + short_number(high) + ")", [=](double x) { return low <= x && x < high; }, nullptr,
          dump_json({{"minimum", low}, {"exclusiveMaximum", high}})};
}

Check above(double low) {
  return {"above " + short_number(low), [=](double x) { return x > low; }, nullptr, dump_json({{"exclusiveMinimum", low}})};
}

Check at_least(double low) {
  return {"at least " + short_number(low), [=](double x) { return x >= low; }, nullptr, dump_json({{"minimum", low}})};
}

Check unkeyed(Check check) {
  check.keyed = false;
  return check;
}

Check unkeyed_at(std::string json, Check check) {
  check.unkeyed_value = std::move(json);
  return check;
}

Check one_of(std::vector<std::string> allowed) {
  std::string rule = "one of ";
  for (size_t i = 0; i < allowed.size(); ++i)
    rule += (i == 0 ? "\"" : ", \"") + allowed[i] + "\"";
  std::string schema = dump_json({{"enum", allowed}});
  return {std::move(rule), nullptr,
          [allowed = std::move(allowed)](const std::string& x) { return std::find(allowed.begin(), allowed.end(), x) != allowed.end(); },
          std::move(schema)};
}

namespace {

json object_of(const Fields& fields, json (*value)(const Field&), const std::function<bool(const Field&)>& wanted) {
  json root = json::object();
  for (const Section& section : fields.sections()) {
    const std::string name = section.prefix.substr(0, section.prefix.size() - 1);
    parent_object(root, name, nullptr)[last_name(name)] = json::object();  // a section without fields is still an object
  }
  for (const Field& field : fields.list())
    if (wanted(field)) parent_object(root, field.name, nullptr)[last_name(field.name)] = value(field);
  return root;
}

}  // namespace

json to_json(const Fields& fields) {
  return object_of(fields, field_value, [](const Field&) { return true; });
}

json key_json(const Fields& fields) {
  return object_of(fields, key_value, [](const Field& field) {
    const std::string& without = field.check.unkeyed_value;
    return field.check.keyed && (without.empty() || field_value(field) != json::parse(without));
  });
}

std::string help_text(const Fields& fields) {
  struct Line {
    std::string name, type, value, help;
  };
  std::vector<Line> lines;
  size_t name_width = 0, type_width = 0, value_width = 0;
  const auto add = [&](const Field& field, const std::string& name) {
    Line line{name, type_names(field.value).help, dump_json(field_value(field)), described(field)};
    name_width = std::max(name_width, line.name.size());
    type_width = std::max(type_width, line.type.size());
    value_width = std::max(value_width, std::min<size_t>(line.value.size(), 24));  // one long default must not push all help away
    lines.push_back(std::move(line));
  };
  for (const Field& field : fields.list()) {
    add(field, field.name);
    if (const auto* objects = std::get_if<ObjectsPointer>(&field.value)) {
      const Fields element = objects->of_default();
      for (const Field& inner : element.list())
        add(inner, field.name + "[]." + inner.name);
    }
  }
  const auto padded = [](const std::string& text, size_t width) { return text + std::string(width - std::min(width, text.size()), ' '); };

  std::string text, section;
  for (const Line& line : lines) {
    const std::string outer = line.name.substr(0, line.name.find("[]")), prefix = outer.substr(0, outer.rfind('.') + 1);
    if (prefix != section) {
      section = prefix;
      if (!text.empty()) text += '\n';
      for (const Section& of_fields : fields.sections()) {
        if (of_fields.prefix == prefix) text += prefix.substr(0, prefix.size() - 1) + ": " + described(of_fields) + "\n";
      }
    }
    text += "  " + padded(line.name, name_width) + "  " + padded(line.type, type_width) + "  " + padded(line.value, value_width) + "  " +
            line.help + "\n";
  }
  return text;
}

json json_schema(const Fields& fields) {
  json root = object_schema(fields);
  root["$schema"] = "https://json-schema.org/draft/2020-12/schema";
  return root;
}

std::vector<Difference> differences(const Fields& a, const Fields& b) {
  std::vector<Difference> found;
  for (size_t i = 0; i < a.list().size(); ++i) {
    std::string left = dump_json(field_value(a.list()[i])), right = dump_json(field_value(b.list()[i]));
    if (left != right) found.push_back({a.list()[i].name, std::move(left), std::move(right), a.list()[i].check.keyed});
  }
  return found;
}

}  // namespace keel::core
