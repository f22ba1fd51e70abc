#include "core/config.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json.h"
#include "core/named.h"
#include "core/utf8.h"
#include "support/test_plain.h"

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::StartsWith;
using keel::core::fields_of;
using keel::core::nearest_name;
using nlohmann::json;

namespace config_test {

struct Controller {
  double target = 6;
  int64_t horizon = 10'000;
};

struct Penalty {
  double coef = 0.01;
  std::string estimator = "k1";
  Controller controller;
};

struct Settings {
  double gamma = 1;
  int64_t steps = 100;
  bool whiten = true;
  std::string name = "run";
  std::vector<int64_t> layers = {1, 2};
  std::vector<double> temperatures = {0.8, 1.0};
  std::vector<std::string> sources;
  Penalty kl;
};

inline void visit(Controller& config, keel::core::Fields& fields) {
  fields("target", config.target, "KL aimed at, nats", keel::core::above(0));
  fields("horizon", config.horizon, "steps");
}

inline void visit(Penalty& config, keel::core::Fields& fields) {
  fields("coef", config.coef, "weight", keel::core::at_least(0));
  fields("estimator", config.estimator, "of the KL", keel::core::one_of({"k1", "k3"}));
  fields.section("controller", config.controller, "adaptive coefficient");
}

inline void visit(Settings& config, keel::core::Fields& fields) {
  fields("gamma", config.gamma, "discount per token", keel::core::between(0, 1));
  fields("steps", config.steps, "optimiser steps", keel::core::at_least(1));
  fields("whiten", config.whiten, "normalise rewards");
  fields("name", config.name, "of the run");
  fields("layers", config.layers, "to train", keel::core::at_least(0));
  fields("temperatures", config.temperatures, "of sampling");
  fields("sources", config.sources, "data sets", keel::core::one_of({"hh", "sandbox"}));
  fields.section("kl", config.kl, "penalty against the reference policy");
}

std::vector<std::string> assigned(Settings& settings, const std::string& text) {
  std::vector<std::string> problems;
  keel::core::assign(fields_of(settings), keel::core::parse_json(text, "test"), "recipe.json", problems);
  return problems;
}

std::vector<std::string> assigned(const std::string& text) {
  Settings settings;
  return assigned(settings, text);
}

std::vector<std::string> set(Settings& settings, const std::string& setting) {
  std::vector<std::string> problems;
  keel::core::assign_setting(fields_of(settings), setting, problems);
  return problems;
}

using Problems = std::vector<std::string>;

TEST_CASE("config: every type is read, nested sections too", "[core]") {
  Settings settings;
  CHECK(assigned(settings, R"({"gamma": 1, "steps": 7, "whiten": false, "name": "a", "layers": [], "temperatures": [1, 0.5],
                               "sources": ["hh"], "kl": {"coef": 2, "controller": {"target": 3.5}}})")
            .empty());
  CHECK(settings.gamma == 1.0);
  CHECK(settings.steps == 7);
  CHECK_FALSE(settings.whiten);
  CHECK(settings.name == "a");
  CHECK(settings.layers.empty());
  CHECK(settings.temperatures == std::vector<double>{1, 0.5});
  CHECK(settings.sources == std::vector<std::string>{"hh"});
  CHECK(settings.kl.coef == 2.0);
  CHECK(settings.kl.controller.target == 3.5);
  CHECK(settings.kl.controller.horizon == 10'000);  // untouched
}

TEST_CASE("config: 2.7 is no integer and 2 is a valid double", "[core]") {
  CHECK(assigned(R"({"steps": 2.7})") == Problems{"recipe.json: steps must be an integer, got the number 2.7"});
  CHECK(assigned(R"({"kl": {"coef": 2}})").empty());
  Settings settings;
  CHECK(assigned(settings, R"({"steps": 1e6})").empty());  // whole, so an integer
  CHECK(settings.steps == 1'000'000);
  CHECK(assigned(R"({"steps": 18446744073709551615})").size() == 1);
  CHECK(assigned(R"({"steps": 1e300})").size() == 1);
  CHECK(assigned(R"({"layers": [1, 2.5]})") ==
        Problems{"recipe.json: layers must be a list, each element an integer, got the list [1,2.5]"});
}

TEST_CASE("config: a wrong type says what was required and what came", "[core]") {
  CHECK(assigned(R"({"gamma": "0.9"})") == Problems{"recipe.json: gamma must be a number, got the string \"0.9\""});
  CHECK(assigned(R"({"whiten": 1})") == Problems{"recipe.json: whiten must be true or false, got the number 1"});
  CHECK(assigned(R"({"name": null})") == Problems{"recipe.json: name must be a string, got null"});
  CHECK(assigned(R"({"name": true})") == Problems{"recipe.json: name must be a string, got true"});
  CHECK(assigned(R"({"layers": 3})") == Problems{"recipe.json: layers must be a list, each element an integer, got the number 3"});
  CHECK(assigned(R"({"steps": {}})") == Problems{"recipe.json: steps must be an integer, got an object"});
  CHECK(assigned(R"({"kl": 0.1})") == Problems{"recipe.json: kl is a section and must be an object, got the number 0.1"});
  CHECK(assigned("[]") == Problems{"recipe.json: settings must be a JSON object, got the list []"});
  std::string accents = "x";
  while (accents.size() < 1000)
    accents += "\xC3\xA9";
  const std::string long_one = assigned("{\"steps\": \"" + accents + "\"}")[0];
  CHECK(long_one.size() < 150);
  CHECK(keel::core::find_invalid_utf8(long_one) == std::string::npos);
}

TEST_CASE("config: ranges are checked, of list elements and texts too", "[core]") {
  CHECK(assigned(R"({"gamma": 1.5})") == Problems{"recipe.json: gamma must be in [0, 1], got the number 1.5"});
  CHECK(assigned(R"({"gamma": 0})").empty());
  CHECK(assigned(R"({"steps": 0})") == Problems{"recipe.json: steps must be at least 1, got the number 0"});
  CHECK(assigned(R"({"kl": {"controller": {"target": 0}}})") ==
        Problems{"recipe.json: kl.controller.target must be above 0, got the number 0"});
  CHECK(assigned(R"({"kl": {"estimator": "k2"}})") ==
        Problems{"recipe.json: kl.estimator must be one of \"k1\", \"k3\", got the string \"k2\""});
  CHECK(assigned(R"({"layers": [0, -1]})").size() == 1);
  CHECK(assigned(R"({"sources": ["hh", "web"]})").size() == 1);
  Settings settings;
  assigned(settings, R"({"gamma": 1.5, "steps": 0})");
  CHECK(settings.gamma == 1);  // a refused value is not taken
  CHECK(settings.steps == 100);
}

TEST_CASE("config: all problems come at once, unknown keys with the nearest name", "[core]") {
  const auto problems = assigned(R"({"gama": 1, "steps": "x", "kl": {"coeff": 1, "controller": {"horizn": 1}}, "zzzzzz": 1, "target": 1})");
  REQUIRE(problems.size() == 6);  // in the order of the keys, which JSON sorts
  CHECK(problems[0] == "recipe.json: unknown key \"gama\"; did you mean \"gamma\"?");
  CHECK(problems[1] == "recipe.json: unknown key \"kl.coeff\"; did you mean \"kl.coef\"?");
  CHECK(problems[2] == "recipe.json: unknown key \"kl.controller.horizn\"; did you mean \"kl.controller.horizon\"?");
  CHECK_THAT(problems[3], StartsWith("recipe.json: steps must be"));
  CHECK(problems[4] == "recipe.json: unknown key \"target\"; did you mean \"kl.controller.target\"?");  // spelt right, elsewhere
  CHECK_THAT(problems[5], StartsWith("recipe.json: unknown key \"zzzzzz\"; no known key"));
  CHECK_THROWS_AS(keel::core::throw_if_any(problems), keel::core::ConfigError);
  CHECK_NOTHROW(keel::core::throw_if_any({}));
}

TEST_CASE("config: a dotted key in a file is told how to be written", "[core]") {
  CHECK_THAT(assigned(R"({"kl.coef": 1})")[0], ContainsSubstring("must be written as nested objects"));
}

TEST_CASE("config: --set takes dotted names and JSON values, texts as they are", "[core]") {
  Settings settings;
  CHECK(set(settings, "kl.coef=0.5").empty());
  CHECK(settings.kl.coef == 0.5);
  CHECK(set(settings, "whiten=false").empty());
  CHECK_FALSE(settings.whiten);
  CHECK(set(settings, "name=a=b \"c\"").empty());
  CHECK(settings.name == "a=b \"c\"");
  CHECK(set(settings, "name=").empty());
  CHECK(settings.name.empty());
  CHECK(set(settings, "name=7").empty());
  CHECK(settings.name == "7");
  CHECK(set(settings, "layers=[3, 4]").empty());
  CHECK(settings.layers == std::vector<int64_t>{3, 4});

  CHECK(set(settings, "steps=2.7") == Problems{"--set steps=2.7: steps must be an integer, got the number 2.7"});
  CHECK(set(settings, "steps=many") == Problems{"--set steps=many: steps must be an integer, got the string \"many\""});
  CHECK(set(settings, "steps=") == Problems{"--set steps=: steps must be an integer, got the string \"\""});
  CHECK(set(settings, "gamma=2").size() == 1);
  CHECK(set(settings, "kl.cef=1") == Problems{"--set kl.cef=1: unknown key \"kl.cef\"; did you mean \"kl.coef\"?"});
  CHECK_THAT(set(settings, "kl={}")[0], ContainsSubstring("kl is a section"));
  CHECK_THAT(set(settings, "gamma")[0], ContainsSubstring("key=value"));
  CHECK_THAT(set(settings, "=1")[0], ContainsSubstring("key=value"));
  CHECK(set(settings, "name=\xFF") == Problems{"--set: a setting must be valid UTF-8"});
}

TEST_CASE("config: JSON out is JSON in", "[core]") {
  Settings changed, copy;
  CHECK(assigned(changed, R"({"gamma": 0.25, "layers": [], "sources": ["hh"], "kl": {"controller": {"horizon": 3}}})").empty());
  const json out = keel::core::to_json(fields_of(changed));
  CHECK(keel::core::dump_json(out) ==
        R"({"gamma":0.25,"kl":{"coef":0.01,"controller":{"horizon":3,"target":6},"estimator":"k1"},"layers":[],"name":"run",)"
        R"("sources":["hh"],"steps":100,"temperatures":[0.8,1],"whiten":true})");
  CHECK(assigned(copy, keel::core::dump_json(out)).empty());
  CHECK(keel::core::to_json(fields_of(copy)) == out);
}

TEST_CASE("config: departures from the defaults are listed with both values", "[core]") {
  Settings changed, defaults;
  changed.layers = {3};
  changed.kl.controller.target = 4.5;
  const auto found = keel::core::differences(fields_of(changed), fields_of(defaults));
  REQUIRE(found.size() == 2);
  CHECK((found[0].name == "layers" && found[0].a == "[3]" && found[0].b == "[1,2]"));
  CHECK((found[1].name == "kl.controller.target" && found[1].a == "4.5" && found[1].b == "6"));
}

TEST_CASE("config: help shows one aligned line a field under its section", "[core]") {
  Settings settings;
  CHECK(keel::core::help_text(fields_of(settings)) ==
        "  gamma                  number    1        discount per token; in [0, 1]\n"
        "  steps                  integer   100      optimiser steps; at least 1\n"
        "  whiten                 bool      true     normalise rewards\n"
        "  name                   text      \"run\"    of the run\n"
        "  layers                 integers  [1,2]    to train; at least 0\n"
        "  temperatures           numbers   [0.8,1]  of sampling\n"
        "  sources                texts     []       data sets; one of \"hh\", \"sandbox\"\n"
        "\n"
        "kl: penalty against the reference policy\n"
        "  kl.coef                number    0.01     weight; at least 0\n"
        "  kl.estimator           text      \"k1\"     of the KL; one of \"k1\", \"k3\"\n"
        "\n"
        "kl.controller: adaptive coefficient\n"
        "  kl.controller.target   number    6        KL aimed at, nats; above 0\n"
        "  kl.controller.horizon  integer   10000    steps\n");
}

TEST_CASE("config: the JSON Schema carries types, rules, defaults and refuses unknown keys", "[core]") {
  Settings settings;
  const json schema = keel::core::json_schema(fields_of(settings));
  CHECK(schema["$schema"] == "https://json-schema.org/draft/2020-12/schema");
  CHECK(schema["additionalProperties"] == false);
  CHECK(schema["properties"]["gamma"] ==
        json({{"type", "number"}, {"minimum", 0}, {"maximum", 1}, {"default", 1}, {"description", "discount per token; in [0, 1]"}}));
  CHECK(schema["properties"]["layers"]["items"] == json({{"type", "integer"}, {"minimum", 0}}));
  CHECK(schema["properties"]["sources"]["items"]["enum"] == json({"hh", "sandbox"}));
  const json& kl = schema["properties"]["kl"];
  CHECK(kl["type"] == "object");
  CHECK(kl["description"] == "penalty against the reference policy");
  CHECK(kl["additionalProperties"] == false);
  CHECK(kl["properties"]["controller"]["properties"]["target"]["exclusiveMinimum"] == 0);
}

// The same setting as text and as an enum.
enum class Scope { batch, own_kind };
constexpr auto names(Scope) {
  return std::to_array<keel::core::Named<Scope>>({{Scope::batch, "batch"}, {Scope::own_kind, "own-kind"}});
}

struct Named {
  Scope scope = Scope::own_kind;
};
inline void visit(Named& config, keel::core::Fields& fields) {
  fields("scope", config.scope, "whose mean");
}

struct Text {
  std::string scope = "own-kind";
};
inline void visit(Text& config, keel::core::Fields& fields) {
  fields("scope", config.scope, "whose mean", keel::core::one_of({"batch", "own-kind"}));
}

TEST_CASE("config: an enum by its name, outside of fields", "[core]") {
  CHECK(keel::core::all_names<Scope>() == std::vector<std::string>{"batch", "own-kind"});
  CHECK(keel::core::named<Scope>("own-kind") == Scope::own_kind);
  CHECK(keel::core::named<Scope>("batch") == Scope::batch);
  CHECK_THROWS_WITH(keel::core::named<Scope>("own_kind"), "no setting has the name \"own_kind\"");
}

TEST_CASE("config: an enum is read by its names, and a wrong one is refused with the list", "[core]") {
  Named settings;
  Problems problems;
  const auto read = [&](const json& object) {
    problems.clear();
    keel::core::assign(fields_of(settings), object, "recipe.json", problems);
    return problems;
  };
  CHECK(read({{"scope", "batch"}}).empty());
  CHECK(settings.scope == Scope::batch);
  CHECK(read({{"scope", "own_kind"}}) == Problems{R"(recipe.json: scope must be one of "batch", "own-kind", got the string "own_kind")"});
  CHECK(read({{"scope", 1}}) == Problems{"recipe.json: scope must be a string, got the number 1"});
  CHECK(settings.scope == Scope::batch);  // a refused value is not taken

  problems.clear();
  keel::core::assign_setting(fields_of(settings), "scope=own-kind", problems);
  CHECK(problems.empty());
  CHECK(settings.scope == Scope::own_kind);
  keel::core::assign_setting(fields_of(settings), "scope=7", problems);
  CHECK(problems == Problems{R"(--set scope=7: scope must be one of "batch", "own-kind", got the string "7")"});
}

TEST_CASE("config: outside the program an enum is the text of its name", "[core]") {
  Named named;
  Text text;
  CHECK(keel::core::name_of(named.scope) == "own-kind");
  CHECK_THROWS_AS(keel::core::name_of(static_cast<Scope>(2)), std::logic_error);
  CHECK(keel::core::json_of(named) == json({{"scope", "own-kind"}}));
  CHECK(keel::core::key_json_of(named) == json({{"scope", "own-kind"}}));
  CHECK(keel::core::help_text(fields_of(named)) == keel::core::help_text(fields_of(text)));
  CHECK(keel::core::json_schema(fields_of(named)) == keel::core::json_schema(fields_of(text)));
  CHECK(keel::core::set_fields(named).empty());
  named.scope = Scope::batch;
  const auto found = keel::core::set_fields(named);
  REQUIRE(found.size() == 1);
  CHECK((found[0].name == "scope" && found[0].a == "\"batch\"" && found[0].b == "\"own-kind\""));
}

struct Part {
  std::string path;
  double weight = 1;
  Scope scope = Scope::batch;
};
inline void visit(Part& part, keel::core::Fields& fields) {
  fields("path", part.path, "file", keel::core::unkeyed());
  fields("weight", part.weight, "copies of a row", keel::core::above(0));
  fields("scope", part.scope, "whose mean");
}

struct Extra {
  bool enabled = true;
  int64_t steps = 5;
};
inline void visit(Extra& extra, keel::core::Fields& fields) {
  fields("enabled", extra.enabled, "whether it is done");
  fields("steps", extra.steps, "steps", keel::core::at_least(1));
}

struct Whole {
  std::vector<Part> parts;
  Extra extra;
};
inline void visit(Whole& whole, keel::core::Fields& fields) {
  fields.objects("parts", whole.parts, "files", {"path"});
  fields.section("extra", whole.extra, "one more stage", {"files"});
}

TEST_CASE("config: a list of objects is read as a whole, each element from its defaults", "[core]") {
  Whole whole;
  Problems problems;
  const auto read = [&](const json& object) {
    problems.clear();
    keel::core::assign(fields_of(whole), object, "recipe.json", problems);
    return problems;
  };
  CHECK(read({{"parts", {{{"path", "a"}, {"weight", 2}}, {{"path", "b"}, {"scope", "own-kind"}}}}}).empty());
  REQUIRE(whole.parts.size() == 2);
  CHECK((whole.parts[0].path == "a" && whole.parts[0].weight == 2 && whole.parts[0].scope == Scope::batch));
  CHECK((whole.parts[1].path == "b" && whole.parts[1].weight == 1 && whole.parts[1].scope == Scope::own_kind));
  const json parts = keel::core::json_of(whole).at("parts");
  CHECK(parts == json::parse(R"([{"path": "a", "weight": 2.0, "scope": "batch"}, {"path": "b", "weight": 1.0, "scope": "own-kind"}])"));
  CHECK(keel::core::key_json_of(whole).at("parts") ==
        json::parse(R"([{"weight": 2.0, "scope": "batch"}, {"weight": 1.0, "scope": "own-kind"}])"));

  // A second list replaces the first one: nothing of an earlier element stays.
  keel::core::assign_setting(fields_of(whole), R"(parts=[{"path": "c"}])", problems);
  CHECK((problems.empty() && whole.parts.size() == 1 && whole.parts[0].weight == 1));
  const auto found = keel::core::set_fields(whole);
  REQUIRE(found.size() == 1);
  CHECK((found[0].name == "parts" && found[0].b == "[]"));

  CHECK(read({{"parts", {{{"path", "a"}}, {{"wieght", 2}, {"scope", "none"}}}}}) ==
        Problems{R"(recipe.json: parts[1]: scope must be one of "batch", "own-kind", got the string "none")",
                 R"(recipe.json: parts[1]: unknown key "wieght"; did you mean "weight"?)", R"(recipe.json: parts[1]: "path" is missing)"});
  CHECK(read({{"parts", {{"path", "a"}}}}) == Problems{"recipe.json: parts must be a list of objects, got an object"});
  CHECK(read({{"parts", {"a"}}}) == Problems{"recipe.json: parts[0]: settings must be a JSON object, got the string \"a\""});
  CHECK(read({{"parts", {{{"path", "a"}, {"weight", 0}}}}}) == Problems{"recipe.json: parts[0]: weight must be above 0, got the number 0"});

  const json schema = keel::core::json_schema(fields_of(whole)).at("properties").at("parts");
  CHECK((schema.at("type") == "array" && schema.at("items").at("type") == "object"));
  CHECK(schema.at("items").at("properties").at("weight").at("exclusiveMinimum") == 0);
  CHECK(schema.at("items").at("additionalProperties") == false);
  CHECK(schema.at("items").at("required") == json({"path"}));
  CHECK_THAT(keel::core::help_text(fields_of(whole)), ContainsSubstring("parts[].weight"));
}

TEST_CASE("config: null turns off a section that has `enabled`, and no other", "[core]") {
  Whole whole;
  Problems problems;
  keel::core::assign(fields_of(whole), {{"extra", nullptr}}, "recipe.json", problems);
  CHECK((problems.empty() && !whole.extra.enabled && whole.extra.steps == 5));
  keel::core::assign_setting(fields_of(whole), "extra.enabled=true", problems);
  CHECK((problems.empty() && whole.extra.enabled));
  keel::core::assign_setting(fields_of(whole), "extra=null", problems);
  CHECK((problems.empty() && !whole.extra.enabled));
  CHECK(keel::core::json_schema(fields_of(whole)).at("properties").at("extra").at("type") == json({"object", "null"}));
  Settings settings;
  keel::core::assign(fields_of(settings), {{"kl", nullptr}}, "recipe.json", problems);
  CHECK(problems == Problems{"recipe.json: kl is a section and must be an object, got null"});
  // The section's own condition is not asked of the field that decides it.
  const auto fields = fields_of(whole);
  for (const auto& field : fields.list())
    if (field.name.starts_with("extra.")) CHECK(keel::core::only_in(fields, field).empty() == (field.name == "extra.enabled"));
}

struct Grown {
  int64_t votes = 1;
  std::string pattern;
  double temperature = 0;
};

inline void visit(Grown& config, keel::core::Fields& fields) {
  fields("votes", config.votes, "askings", keel::core::unkeyed_at("1", keel::core::at_least(1)));
  fields("pattern", config.pattern, "of a verdict", keel::core::unkeyed_at("\"\""));
  fields("temperature", config.temperature, "of sampling", keel::core::unkeyed_at("0"));
}

TEST_CASE("unkeyed_at: a field is no part of a key at the value named, and is at any other", "[core]") {
  Grown grown;
  CHECK(keel::core::key_json_of(grown) == json::object());
  CHECK(keel::core::json_of(grown).size() == 3);
  grown = {.votes = 3, .pattern = "A", .temperature = 0.5};
  CHECK(keel::core::key_json_of(grown) == json{{"votes", 3}, {"pattern", "A"}, {"temperature", 0.5}});
  std::vector<std::string> problems;
  keel::core::assign(fields_of(grown), json{{"votes", 0}}, "here", problems);
  CHECK(problems.size() == 1);  // the check itself stays
}

TEST_CASE("nearest_name: slips are near, other words are not", "[core]") {
  const std::vector<std::string> known = {"learning_rate", "batch_tokens", "beta", "lr"};
  CHECK(nearest_name("learnign_rate", known) == "learning_rate");
  CHECK(nearest_name("learning-rate", known) == "learning_rate");
  CHECK(nearest_name("LearningRate", known) == "learning_rate");
  CHECK(nearest_name("batch_token", known) == "batch_tokens");
  CHECK(nearest_name("bata", known) == "beta");
  CHECK(nearest_name("rl", known) == "lr");
  CHECK(nearest_name("temperature", known).empty());
  CHECK(nearest_name("x", known).empty());
  CHECK(nearest_name("", known).empty());
  CHECK(nearest_name("anything", {}).empty());
}

}  // namespace config_test
