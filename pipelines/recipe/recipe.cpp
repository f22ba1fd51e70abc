#include "pipelines/recipe/recipe.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <stdexcept>
#include <system_error>
#include <tuple>
#include <utility>

#include "core/error.h"
#include "core/json.h"
#include "data/chat_format.h"
#include "pipelines/recipe/versions.h"
#include "policy/base_model.h"
#include "sandbox/world.h"

namespace keel::pipelines::recipe {
namespace {

bool has_ppo(const Recipe& recipe) {
  return std::ranges::count(methods_of(recipe), Method::ppo) > 0;
}

bool has_rejection(const Recipe& recipe) {
  return methods_of(recipe) != std::vector{Method::reward};
}

// Why the run does not meet `condition`, as the subject of "does not read it"; "" if it does.
std::string lacking(const Recipe& recipe, const std::string& condition) {
  const bool sandbox = from_sandbox(recipe), one_version = recipe.versions.size() == 1;
  const auto& annotator = recipe.preferences.annotator;
  const auto unless = [](bool has, std::string reason) { return has ? "" : std::move(reason); };
  const std::string source = fmt::format("a run with data.source \"{}\"", core::name_of(recipe.data.source)),
                    judged = fmt::format("preferences.annotator \"{}\"", core::name_of(annotator));
  if (condition == "sandbox") return unless(sandbox, source);
  if (condition == "files") return unless(!sandbox, source);
  if (condition == "SFT") return unless(recipe.sft.enabled, "a run with \"sft\": null");
  if (condition == "chosen answers as demonstrations")
    return unless(!has_source(recipe.data, SourceKind::demonstrations), "a run with demonstrations in data.sources");
  if (condition == "several versions") return unless(!one_version, "a run of one version");
  if (condition == "comparisons")
    return unless(sandbox || !one_version || annotator == Annotator::none, "a run of one version on real data");
  if (condition == "an annotator") return unless(annotator != Annotator::none, judged);
  if (condition == "annotator people") return unless(annotator == Annotator::people, judged);
  if (condition == "annotator judge") return unless(annotator == Annotator::judge, judged);
  if (condition == "rejection sampling") return unless(has_rejection(recipe), "a run of reward models alone");
  if (condition == "Ghost Attention") return unless(has_gatt(recipe), "a run with gatt.from_version 0");
  if (condition == "context distillation") return unless(has_distillation(recipe), "a run with distill.from_version 0");
  if (condition == "PPO") return unless(has_ppo(recipe), "a run without a version \"ppo\"");
  if (condition == "a study of best of n") return unless(recipe.best_of.samples > 0, "a run with best_of.samples 0");
  throw std::logic_error("a field names a condition that no run is asked for: " + condition);
}

// Why no stage of the run reads a field, as the subject of "does not read it", by name; a field that some stage reads is left out.
std::map<std::string, std::string> unread_fields(Recipe recipe) {
  const core::Fields fields = core::fields_of(recipe);
  std::map<std::string, std::string> reasons;
  for (const core::Field& field : fields.list())
    for (const std::string& condition : core::only_in(fields, field))
      if (std::string reason = lacking(recipe, condition); !reason.empty()) reasons.emplace(field.name, std::move(reason));
  return reasons;
}

// A setting without effect is a mistake, with one exception: the recipe file may set it for versions, a study or a method that --config or
// --set leave out, so that a short variant of a run need not undo the file's settings. `file`: the recipe as in its file.
std::vector<std::string> unread_problems(const Recipe& recipe, Recipe file) {
  Recipe as_long_as_file = recipe, now = recipe;
  as_long_as_file.versions = file.versions;
  as_long_as_file.best_of.samples = file.best_of.samples;
  as_long_as_file.gatt.from_version = file.gatt.from_version;
  as_long_as_file.distill.from_version = file.distill.from_version;
  std::set<std::string> changed;
  for (const auto& field : core::differences(core::fields_of(now), core::fields_of(file)))
    changed.insert(field.name);
  const auto unread = unread_fields(recipe), unread_by_file = unread_fields(as_long_as_file);
  std::vector<std::string> problems;
  for (const auto& field : changed_settings(recipe)) {
    const auto reason = unread.find(field.name);
    const bool left_over = !changed.contains(field.name) && !unread_by_file.contains(field.name);
    if (reason != unread.end() && !left_over)
      problems.push_back(fmt::format("{}: {} does not read it; leave it out", field.name, reason->second));
  }
  return problems;
}

// The shape of the model that a run trains, if known before the run.
std::optional<policy::LlamaConfig> shape_of(const Recipe& recipe) {
  if (recipe.data.source == DataSource::sandbox) return recipe.llama;
  std::filesystem::path folder;
  try {
    folder = policy::weights_folder(recipe.model);
  } catch (const core::UsageError&) {  // an adapter whose base is gone: a run refuses it when it reads the model
    return std::nullopt;
  }
  const auto file = folder / "config.json";
  std::error_code absent;
  if (!std::filesystem::is_regular_file(file, absent)) return std::nullopt;
  return policy::read_llama_config(core::read_json_file(file), file);
}

std::vector<std::string> annotator_problems(const Recipe& recipe) {
  const PreferenceConfig& config = recipe.preferences;
  std::vector<std::string> problems;
  const bool sandbox = from_sandbox(recipe);
  const bool of_sandbox =
      config.annotator != Annotator::judge && config.annotator != Annotator::people && config.annotator != Annotator::none;
  if (sandbox && !of_sandbox)
    problems.push_back(
        fmt::format("preferences.annotator: \"{}\" is for data.source \"files\"; the sandbox has annotators of its own, mild, "
                    "middle and strict",
                    core::name_of(config.annotator)));
  if (!sandbox && of_sandbox && recipe.versions.size() > 1)
    problems.push_back(
        fmt::format("preferences.annotator: \"{}\" knows the sandbox alone; later versions on real data need judge, people or "
                    "none",
                    core::name_of(config.annotator)));
  if (config.annotator == Annotator::people && config.people.empty())
    problems.emplace_back("preferences.people is missing: name the folder of the filled-in files");
  if (config.annotator == Annotator::judge) {
    if (config.judge.model.empty())
      problems.emplace_back("preferences.judge.model is missing: name the model that the server should ask");
    else
      core::add_problems(problems, "preferences.judge.", annotation::problems_of(config.judge));
  }
  return problems;
}

// Missing sources, and settings of sources that nothing reads.
std::vector<std::string> data_problems(const Recipe& recipe) {
  const DataConfig& data = recipe.data;
  std::vector<std::string> problems = source_problems(data, std::ssize(recipe.versions));
  const auto has = [&](SourceKind kind) { return has_source(data, kind, 1); };
  const bool pairs = has(SourceKind::helpfulness) || has(SourceKind::safety), ptx = has_ppo(recipe) && recipe.ppo.ptx.weight > 0;
  for (const auto& [kind, name, first] : {std::tuple{SourceKind::helpfulness, "data.helpful", &recipe.reward.first.helpfulness},
                                          {SourceKind::safety, "data.harmless", &recipe.reward.first.safety}})
    if (!has(kind) && first->empty())
      problems.push_back(
          fmt::format("{} is missing: V1 needs {} pairs (--set {}=pairs.jsonl.gz, or a source of the kind {} in data.sources) or "
                      "a model of its own, reward.first.{}",
                      name, core::name_of(kind), name, core::name_of(kind), core::name_of(kind)));
  if (!gives_prompts(recipe, 1)) problems.emplace_back("data.sources: V1 has neither prompts nor pairs whose prompts it could ask");
  if (recipe.sft.enabled && !pairs && !has(SourceKind::demonstrations))
    problems.emplace_back(
        "data.sources: SFT has neither demonstrations nor pairs whose chosen answers it could learn; set \"sft\" to null");
  if (ptx && !has(SourceKind::pretraining) && !pairs && !has(SourceKind::demonstrations))
    problems.emplace_back("ppo.ptx.weight: there is no text to learn; give a source of the kind pretraining, or set it to 0");
  if (!ptx && has(SourceKind::pretraining))
    problems.emplace_back("data.sources: pretraining text is for PPO's ptx alone; set ppo.ptx.weight above 0, or leave it out");
  if (!recipe.sft.enabled && has(SourceKind::demonstrations) && !(ptx && !has(SourceKind::pretraining)))
    problems.emplace_back("data.sources: without SFT nothing reads demonstrations; leave them out");
  if (data.gold_share > 0 && !(has(SourceKind::helpfulness) && has(SourceKind::safety)))
    problems.emplace_back("data.gold_share: gold reward models need pairs of both kinds for V1");
  if (recipe.mixture.drop_duplicates)
    for (const SourceConfig& source : data.sources)
      if (holds_pairs(source.kind) && source.weight > 1)
        problems.push_back(fmt::format("data.sources: mixture.drop_duplicates undoes the weight {} of {}; change one of them",
                                       source.weight, source.path));
  return problems;
}

// Every longest answer must leave room for a prompt within `limit`, the value of the field `holder`.
void check_lengths(const Recipe& recipe, const std::string& holder, int64_t limit, const std::function<void(const std::string&)>& problem) {
  std::vector<std::pair<std::string, int64_t>> longest = {{"evaluation", recipe.evaluation.max_new_tokens}};
  if (has_gatt(recipe)) longest.emplace_back("gatt.answers.sampling", recipe.gatt.answers.sampling.max_new_tokens);
  if (has_distillation(recipe)) longest.emplace_back("distill.answers.sampling", recipe.distill.answers.sampling.max_new_tokens);
  if (has_rejection(recipe)) longest.emplace_back("rejection.sampling", recipe.rejection.sampling.max_new_tokens);
  if (has_ppo(recipe)) longest.emplace_back("ppo.sampling", recipe.ppo.sampling.max_new_tokens);
  if (!unread_fields(recipe).contains("preferences.max_new_tokens")) longest.emplace_back("preferences", recipe.preferences.max_new_tokens);
  for (const auto& [name, tokens] : longest)
    if (tokens >= limit)
      problem(fmt::format("{}.max_new_tokens must be below {} ({}), which holds prompt and answer, got {}", name, holder, limit, tokens));
}

void assign_over(const core::Fields& fields, const std::string& overlay, const std::vector<std::string>& settings,
                 std::vector<std::string>& problems) {
  if (!overlay.empty()) core::assign_file(fields, overlay, problems);
  for (const auto& setting : settings)
    core::assign_setting(fields, setting, problems);
}

// Rules between fields.
void check(const Recipe& recipe, const Recipe& file, const std::string& origin, std::vector<std::string>& problems) {
  const auto problem = [&](const std::string& text) { problems.push_back(fmt::format("{}: {}", origin, text)); };
  const auto all_of = [&](const std::string& section, const std::vector<std::string>& texts) {
    core::add_problems(problems, fmt::format("{}: {}", origin, section), texts);
  };
  if (recipe.name.empty()) problem("\"name\" is missing: a run folder belongs to the recipe of that name");
  if (recipe.data.source == DataSource::files) {
    if (recipe.model.empty())
      problem("data.source \"files\" needs \"model\", the folder of the checkpoint to align (make model fetches one)");
    check_lengths(recipe, "data.max_tokens", recipe.data.max_tokens, problem);
    all_of("", data_problems(recipe));
    const std::vector<std::string> known = data::dialogue_formats();
    const bool named = recipe.chat_format.empty() || std::find(known.begin(), known.end(), recipe.chat_format) != known.end();
    if (!named && !recipe.chat_format.ends_with(".json"))
      problem(fmt::format("chat_format: \"{}\" is none of {}, and no .json file", recipe.chat_format, fmt::join(known, ", ")));
  } else {
    if (!recipe.chat_format.empty() && recipe.chat_format != "llama2" && recipe.chat_format != "hh")
      problem(fmt::format("chat_format: the sandbox's models learn llama2 or hh, got \"{}\"", recipe.chat_format));
    if (!recipe.model.empty()) problem("\"model\" is for data.source \"files\"; the sandbox pretrains its own");
    if (recipe.chat_format == "hh" && recipe.sandbox.corpus.instruction > 0)
      problem("chat_format \"hh\" has no system turn, which sandbox.corpus.instruction asks for: set the latter to 0");
    all_of("llama: ", policy::problems_of(recipe.llama));
    check_lengths(recipe, "llama.max_position_embeddings", recipe.llama.max_position_embeddings, problem);
  }
  const auto& skills = sandbox::skills();
  if (const auto& absent = recipe.sandbox.absent_skill; !absent.empty() && std::find(skills.begin(), skills.end(), absent) == skills.end())
    problem(fmt::format("sandbox.absent_skill: there is no skill \"{}\"; the skills are {}", absent, fmt::join(skills, ", ")));
  all_of("", unread_problems(recipe, file));
  if (recipe.best_of.temperatures.empty()) problem("best_of.temperatures must name at least one temperature");
  all_of("", annotator_problems(recipe));
  if (recipe.preferences.temperatures.empty()) problem("preferences.temperatures must name at least one temperature");
  if (recipe.versions.empty()) problem("versions must name at least one: \"rejection\", \"ppo\" or \"reward\"");
  const std::vector<Method> methods = methods_of(recipe);
  const auto reward_alone = std::ranges::find(methods, Method::reward);
  if (std::distance(reward_alone, methods.end()) > 1)
    problem("versions: \"reward\" makes no model to go on with, so it can only be the last");
  const int64_t later = std::ssize(methods);
  if (recipe.preferences.annotator == Annotator::none && later > 1 && methods.back() == Method::reward &&
      !has_source(recipe.data, SourceKind::helpfulness, later) && !has_source(recipe.data, SourceKind::safety, later))
    problem("versions: a later \"reward\" has nothing to learn from where preferences.annotator is \"none\" and no source has its batch");
  const int64_t tuned = std::ssize(methods) - (reward_alone == methods.end() ? 0 : 1);  // versions with a model
  for (const auto& [name, version] : {std::pair{"gatt", recipe.gatt.from_version}, {"distill", recipe.distill.from_version}})
    if (version > tuned)
      problem(fmt::format("{}.from_version must be at most {}, the last version that is fine-tuned, got {}", name, tuned, version));
  if (has_gatt(recipe) && has_distillation(recipe) && recipe.gatt.weight + recipe.distill.weight >= 1)
    problem(
        fmt::format("gatt.weight and distill.weight must add up to less than 1, got {} and {}", recipe.gatt.weight, recipe.distill.weight));
  if (has_gatt(recipe) && recipe.gatt.listed.kinds.empty() && recipe.gatt.listed.count != ListedValues().count)
    problem("gatt.listed.count: nothing reads it without gatt.listed.kinds");
  if (has_gatt(recipe) && recipe.gatt.retention.turns.empty()) problem("gatt.retention.turns must name at least one turn");
  if (has_gatt(recipe) && !from_sandbox(recipe))
    for (const auto& [name, value] : {std::pair{"gatt.dialogues", recipe.gatt.dialogues},
                                      {"gatt.test_dialogues", recipe.gatt.test_dialogues},
                                      {"gatt.instructions", recipe.gatt.instructions}})
      if (value.empty()) problem(fmt::format("{} is missing: name a file of rows, or leave gatt.from_version at 0", name));
  if (has_gatt(recipe) && !from_sandbox(recipe)) all_of("gatt.judge.", annotation::problems_of(recipe.gatt.judge));
  all_of("pretrain.", policy::problems_of(recipe.pretrain));
  all_of("sft.", policy::problems_of(recipe.sft));
  all_of("rejection.", rejection_sampling::problems_of(recipe.rejection));
  all_of("reward.", reward::problems_of(recipe.reward));
  all_of("ppo.", ppo::problems_of(recipe.ppo));
  if (const auto shape = shape_of(recipe)) {
    all_of("sft.", policy::problems_with(recipe.sft, *shape));
    all_of("rejection.sft.", policy::problems_with(recipe.rejection.sft, *shape));
    all_of("reward.", reward::problems_with(recipe.reward, *shape));
    all_of("ppo.", ppo::problems_with(recipe.ppo, *shape));
  }
}

// The end of reading. The rules want the shape of the model, which is its base's where it is an adapter.
Recipe checked(Recipe recipe, const Recipe& file, const std::string& origin, std::vector<std::string> problems) {
  if (problems.empty()) {
    policy::use_base(recipe.base);
    check(recipe, file, origin, problems);
  }
  core::throw_if_any(std::move(problems));
  return recipe;
}

}  // namespace

Recipe read_recipe(const std::filesystem::path& path, const std::string& overlay, const std::vector<std::string>& settings) {
  Recipe recipe;
  std::vector<std::string> problems;
  const core::Fields fields = core::fields_of(recipe);
  core::assign_file(fields, path, problems);
  const Recipe file = recipe;
  assign_over(fields, overlay, settings, problems);
  return checked(std::move(recipe), file, path, std::move(problems));
}

Recipe read_recorded_recipe(const std::string& config, const std::filesystem::path& origin, const std::string& overlay,
                            const std::vector<std::string>& settings) {
  Recipe recipe;
  std::vector<std::string> problems;
  const core::Fields fields = core::fields_of(recipe);
  core::assign(fields, core::parse_json(config, origin.string()), origin.string(), problems);
  Recipe recorded = recipe;
  // The run accepted settings for versions, studies and methods that were left out, so they stay valid.
  recorded.versions = {core::name_of(Method::rejection), core::name_of(Method::ppo)};
  recorded.best_of.samples = std::max<int64_t>(recorded.best_of.samples, 1);
  recorded.gatt.from_version = recorded.distill.from_version = 1;
  assign_over(fields, overlay, settings, problems);
  return checked(std::move(recipe), recorded, origin, std::move(problems));
}

std::vector<core::Difference> changed_settings(const Recipe& recipe) {
  return core::set_fields(recipe);
}

std::vector<std::string> unread_settings(const Recipe& recipe) {
  std::vector<std::string> names;
  for (const auto& [name, reason] : unread_fields(recipe))
    names.push_back(name);
  return names;
}

}  // namespace keel::pipelines::recipe
