#include "pipelines/ablation/sweep.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "core/config.h"
#include "core/error.h"
#include "core/json.h"
#include "pipelines/run/stage_graph.h"
#include "pipelines/stages/graph.h"

namespace keel::pipelines::ablation {
namespace {

using nlohmann::json;
constexpr const char* kUntil = "until";
constexpr size_t kMostCells = 1000;

std::string value_text(const json& value) {
  return value.is_string() ? value.get<std::string>() : core::dump_json(value);
}

// Reads the members of a sweep file and collects every problem.
class Reader {
 public:
  Reader(const json& object, std::string origin) : object_(object), origin_(std::move(origin)) {}

  void problem(const std::string& text) { problems_.push_back(origin_ + ": " + text); }
  void finish() { core::throw_if_any(std::move(problems_)); }

  const json* member(const char* name, json::value_t type, const char* kind) {
    known_.emplace_back(name);
    const auto found = object_.find(name);
    if (found == object_.end()) return nullptr;
    if (found->type() == type) return &*found;
    problem(fmt::format("\"{}\" must be {}, got {}", name, kind, found->type_name()));
    return nullptr;
  }
  std::string text(const char* name, const std::string& otherwise) {
    const json* value = member(name, json::value_t::string, "text");
    return value == nullptr ? otherwise : value->get<std::string>();
  }
  // A list of objects of settings; anything but an object is a problem.
  std::vector<Settings> choices(const char* name) {
    std::vector<Settings> all;
    const json* list = member(name, json::value_t::array, "a list of objects {setting: value}");
    if (list == nullptr) return all;
    for (const auto& entry : *list)
      all.push_back(settings_of(entry, name));
    return all;
  }
  Settings settings_of(const json& entry, const char* name) {
    Settings settings;
    if (!entry.is_object())
      problem(fmt::format("\"{}\" must hold objects {{setting: value}}, got {}", name, entry.type_name()));
    else
      for (const auto& [key, value] : entry.items())
        settings.emplace_back(key, value_text(value));
    return settings;
  }
  void refuse_unknown() {
    for (const auto& [key, value] : object_.items()) {
      if (std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
      const std::string near = core::nearest_name(key, known_);
      problem(fmt::format("unknown key \"{}\"{}", key, near.empty() ? "" : fmt::format("; did you mean \"{}\"?", near)));
    }
  }

 private:
  const json& object_;
  std::string origin_;
  std::vector<std::string> known_, problems_;
};

bool holds(const Settings& cell, const Settings& part) {
  return std::all_of(part.begin(), part.end(),
                     [&](const auto& setting) { return std::find(cell.begin(), cell.end(), setting) != cell.end(); });
}

// `cells` x `options`.
std::vector<Settings> crossed(const std::vector<Settings>& cells, const std::vector<Settings>& options) {
  std::vector<Settings> all;
  for (const auto& cell : cells)
    for (const auto& option : options) {
      all.push_back(cell);
      all.back().insert(all.back().end(), option.begin(), option.end());
    }
  return all;
}

void read_cells(Reader& reader, Sweep& sweep) {
  sweep.cells = {{}};
  const json* baseline = reader.member("baseline", json::value_t::object, "an object {setting: value}");
  if (const json* grid = reader.member("grid", json::value_t::object, "an object {setting: [values]}"))
    for (const auto& [key, values] : grid->items()) {
      std::vector<Settings> options;
      if (!values.is_array() || values.empty())
        reader.problem(fmt::format("grid.{} must be a list of values", key));
      else
        for (const auto& value : values)
          options.push_back({{key, value_text(value)}});
      if (!options.empty()) sweep.cells = crossed(sweep.cells, options);
      if (sweep.cells.size() > kMostCells) return reader.problem(fmt::format("there are more than {} cells", kMostCells));
    }
  if (const auto paired = reader.choices("paired"); !paired.empty()) sweep.cells = crossed(sweep.cells, paired);
  for (const auto& excluded : reader.choices("exclude"))
    if (std::erase_if(sweep.cells, [&](const Settings& cell) { return !excluded.empty() && holds(cell, excluded); }) == 0)
      reader.problem(fmt::format("\"exclude\" ({}) fits no cell", label_of(excluded)));
  if (sweep.cells.empty()) reader.problem("no cell is left: \"exclude\" removes every combination");
  for (auto& cell : sweep.cells) {
    std::sort(cell.begin(), cell.end());
    for (size_t i = 0; i + 1 < cell.size(); ++i)
      if (cell[i].first == cell[i + 1].first)
        return reader.problem(fmt::format("{} stands twice in the cell {}", cell[i].first, label_of(cell)));
    for (const auto& [key, value] : cell)
      for (const char* own : {"seed", "threads", "name"})
        if (key == own) return reader.problem(fmt::format("\"{}\" is no setting of a cell; seeds stand in \"seeds\"", key));
  }
  std::vector<Settings> once;
  for (const auto& cell : sweep.cells)
    if (std::find(once.begin(), once.end(), cell) == once.end()) once.push_back(cell);
  sweep.cells = std::move(once);
  for (const auto& cell : sweep.cells)
    for (const auto& [key, value] : cell)
      if (std::find(sweep.keys.begin(), sweep.keys.end(), key) == sweep.keys.end()) sweep.keys.push_back(key);

  if (baseline != nullptr) {
    const Settings wanted = reader.settings_of(*baseline, "baseline");
    const auto found = std::find_if(sweep.cells.begin(), sweep.cells.end(), [&](const Settings& cell) { return holds(cell, wanted); });
    if (found == sweep.cells.end())
      reader.problem(fmt::format("\"baseline\" ({}) is none of the cells", label_of(wanted)));
    else
      sweep.baseline = static_cast<size_t>(found - sweep.cells.begin());
  }
}

void read_distributions(Reader& reader, Sweep& sweep) {
  const json* names = reader.member("distributions", json::value_t::array, "a list of names like \"sft.reward_safety.hazard\"");
  if (names == nullptr) return;
  for (const auto& entry : *names) {
    const std::string name = entry.is_string() ? entry.get<std::string>() : "";
    const size_t first = name.find('.'), second = first == std::string::npos ? first : name.find('.', first + 1);
    const std::string prompts = second == std::string::npos ? "" : name.substr(second);
    if (first == std::string::npos || (second != std::string::npos && prompts != ".hazard" && prompts != ".harmless")) {
      reader.problem(
          fmt::format("\"distributions\" must be names MODEL.MEMBER, MODEL.MEMBER.hazard or MODEL.MEMBER.harmless, got {}", entry.dump()));
      continue;
    }
    sweep.distributions.push_back({.name = name, .model = name.substr(0, first), .member = name.substr(first + 1, second - first - 1)});
    if (!prompts.empty()) sweep.distributions.back().hazard = prompts == ".hazard";
  }
}

// The numbers that the evaluation stage writes of an answer.
std::vector<std::string> answer_numbers(const recipe::Recipe& recipe) {
  std::vector<std::string> names = {"reward_helpfulness", "reward_safety", "kl_to_sft"};
  if (recipe::has_general_reward(recipe)) names.emplace_back("reward_general");
  if (recipe::gold_of(recipe) == recipe::Gold::sandbox) names.insert(names.end(), {"gold_helpfulness", "gold_safety"});
  return names;
}

// Checks every cell's recipe, and that some cell has what "measures" and "distributions" name: before hours of work.
void check_cells(Reader& reader, const Sweep& sweep) {
  std::vector<std::string> unknown = sweep.measures;
  std::vector<Distribution> missing = sweep.distributions;
  std::set<std::string> numbers;
  for (const auto& cell : sweep.cells) {
    const recipe::Recipe recipe = recipe_of(sweep, cell);
    const auto stages = stages::build_stages(recipe, {{"model", ""}, {"data.helpful", ""}, {"data.harmless", ""}});
    const size_t last = run::find_stage(stages, until_of(sweep, cell), "\"until\"");
    const auto models = recipe::run_models(recipe);
    const auto has_model = [&](const std::string& name) {
      return std::any_of(models.begin(), models.end(), [&](const auto& model) { return model.first == name; });
    };
    const auto has_stage = [&](const std::string& name) {
      return std::any_of(stages.begin(), stages.begin() + static_cast<std::ptrdiff_t>(last) + 1,
                         [&](const run::Stage& stage) { return stage.name == name; });
    };
    std::erase_if(unknown, [&](const std::string& measure) {
      const std::string name = measure.substr(0, measure.find('.'));
      return has_model(name) || has_stage(name);
    });
    const auto members = answer_numbers(recipe);
    numbers.insert(members.begin(), members.end());
    std::erase_if(missing, [&](const Distribution& wanted) {
      return has_stage("evaluation") && has_model(wanted.model) &&
             std::find(members.begin(), members.end(), wanted.member) != members.end();
    });
  }
  for (const auto& measure : unknown)
    reader.problem(fmt::format("measure \"{}\": no cell has a model or a stage of that name", measure));
  for (const auto& wanted : missing)
    reader.problem(fmt::format("distribution \"{}\": no cell evaluates a model \"{}\" whose answers have a number \"{}\"; they have {}",
                               wanted.name, wanted.model, wanted.member, fmt::join(numbers, ", ")));
}

// Settings that are not part of a key may come from the command line: a sweep stays the same wherever its model and data lie.
void read_places(Reader& reader, Sweep& sweep, const std::vector<std::string>& places) {
  recipe::Recipe recipe;
  const core::Fields fields = core::fields_of(recipe);
  std::vector<std::string> allowed;
  for (const core::Field& field : fields.list())
    if (!field.check.keyed && field.name != "threads") allowed.push_back(field.name);
  for (const std::string& place : places) {
    const std::string key = place.substr(0, place.find('='));
    if (std::find(allowed.begin(), allowed.end(), key) == allowed.end())
      reader.problem(fmt::format("--set {}: the settings of a sweep stand in its file; --set says where things lie: {}", place,
                                 fmt::join(allowed, ", ")));
    else if (std::find(sweep.keys.begin(), sweep.keys.end(), key) != sweep.keys.end())
      reader.problem(fmt::format("--set {}: the sweep varies {} itself", place, key));
  }
  sweep.places = places;
}

}  // namespace

const std::string& until_of(const Sweep& sweep, const Settings& cell) {
  const auto own = std::find_if(cell.begin(), cell.end(), [](const auto& setting) { return setting.first == kUntil; });
  return own == cell.end() ? sweep.until : own->second;
}

bool ends_early(const Settings& cell) {
  return std::any_of(cell.begin(), cell.end(), [](const auto& setting) { return setting.first == kUntil; });
}

std::string label_of(const Settings& settings) {
  std::string label;
  for (const auto& [key, value] : settings)
    label += fmt::format("{}{}={}", label.empty() ? "" : ", ", key, value);
  return label.empty() ? "as the recipe is" : label;
}

recipe::Recipe recipe_of(const Sweep& sweep, const Settings& cell) {
  std::vector<std::string> arguments = sweep.places;
  for (const auto& [key, value] : cell)
    if (key != kUntil) arguments.push_back(key + "=" + value);
  return recipe::read_recipe(sweep.base, {}, arguments);
}

Sweep read_sweep(const std::filesystem::path& path, const std::vector<std::string>& places) {
  const json object = core::read_json_file(path);
  if (!object.is_object()) throw core::ConfigError({path.string() + ": a sweep must be a JSON object"});
  Reader reader(object, path.string());
  Sweep sweep;
  sweep.name = reader.text("name", "");
  sweep.base = reader.text("base", "");
  sweep.until = reader.text("until", sweep.until);
  if (sweep.name.empty()) reader.problem("\"name\" is missing");
  if (sweep.base.empty()) reader.problem("\"base\" is missing: the recipe to vary");
  if (const json* seeds = reader.member("seeds", json::value_t::array, "a list of integers")) {
    sweep.seeds.clear();
    for (const auto& seed : *seeds) {
      if (!seed.is_number_integer() || seed < 0 ||
          std::find(sweep.seeds.begin(), sweep.seeds.end(), seed.get<int64_t>()) != sweep.seeds.end())
        reader.problem(fmt::format("\"seeds\" must be distinct integers of at least 0, got {}", seed.dump()));
      else
        sweep.seeds.push_back(seed.get<int64_t>());
    }
    if (seeds->empty()) reader.problem("\"seeds\" must name at least one");
  }
  if (const json* measures = reader.member("measures", json::value_t::array, "a list of names like \"ppo.gold_helpfulness\""))
    for (const auto& measure : *measures) {
      if (!measure.is_string() || measure.get<std::string>().find('.') == std::string::npos)
        reader.problem(fmt::format("\"measures\" must be names MODEL.MEASURE or STAGE.MEASURE, got {}", measure.dump()));
      else
        sweep.measures.push_back(measure);
    }
  if (sweep.measures.empty()) reader.problem("\"measures\" must name what is compared, e.g. [\"ppo.gold_helpfulness\"]");
  read_distributions(reader, sweep);
  read_cells(reader, sweep);
  read_places(reader, sweep, places);
  reader.refuse_unknown();
  reader.finish();
  check_cells(reader, sweep);
  reader.finish();
  return sweep;
}

}  // namespace keel::pipelines::ablation
