#include "pipelines/stages/stages.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <tuple>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "inference/model_folder.h"
#include "pipelines/report/summary.h"
#include "pipelines/stages/operations.h"

namespace keel::pipelines::stages {
namespace {

bool from_sandbox(const recipe::Recipe& recipe) {
  return recipe.data.source == "sandbox";
}

std::string text_of(const nlohmann::json& object) {
  return core::dump_json(object);
}

using core::json_of;
using Digests = std::map<std::string, std::string>;

run::Stage data_stage(const recipe::Recipe& recipe, const Digests& external) {
  run::Stage stage{
      .name = "data", .schema_version = from_sandbox(recipe) ? 1 : 2, .inputs = {}, .external = {}, .run = nullptr, .scratch = {}};
  if (from_sandbox(recipe)) {
    nlohmann::json config = json_of(recipe.sandbox);
    config.erase("absent_skill");  // the first version's prompts ask for every skill
    stage.config = text_of({{"sandbox", config}});
    stage.run = [recipe](const run::StageContext& context) { write_sandbox_data(recipe, context); };
  } else {
    nlohmann::json config = json_of(recipe.data);
    config.erase("helpful");  // their contents count, not where they lie
    config.erase("harmless");
    stage.config = text_of(config);
    for (const char* role : {"data.helpful", "data.harmless"})
      stage.external[role] = external.at(role);
    stage.run = [recipe](const run::StageContext& context) { write_file_data(recipe, context); };
  }
  return stage;
}

run::Stage base_stage(const recipe::Recipe& recipe) {
  return {
      .name = "base",
      .inputs = {"data"},
      .config = text_of({{"llama", json_of(recipe.llama)}, {"pretrain", json_of(recipe.pretrain)}, {"chat_format", recipe.chat_format}}),
      .external = {},
      .run =
          [recipe](const run::StageContext& context) {
            const fs::path data = context.inputs.at("data");
            pretrain_operation({.corpus = data / "corpus.jsonl",
                                .validation = data / "corpus_validation.jsonl",
                                .tokenizer = data,
                                .chat_format = recipe.chat_format},
                               recipe.llama, recipe.pretrain, context.seed, context.work);
          },
      .scratch = {"ckpt"}};
}

// The start checkpoint of a run on real data is an input that lies outside of the run.
void add_start(run::Stage& stage, const recipe::Recipe& recipe, const Digests& external) {
  if (from_sandbox(recipe))
    stage.inputs.push_back("base");
  else
    stage.external["model"] = external.at("model");
}

run::Stage sft_stage(const recipe::Recipe& recipe, const Digests& external) {
  run::Stage stage{.name = "sft",
                   .inputs = {"data"},
                   .config = text_of({{"sft", json_of(recipe.sft)}, {"limit", to_json(length_limit(recipe))}}),
                   .external = {},
                   .run =
                       [recipe](const run::StageContext& context) {
                         const fs::path data = context.inputs.at("data");
                         sft_operation({.model = model_folder(recipe, context, "base"),
                                        .demonstrations = data / "demonstrations.jsonl",
                                        .validation = data / "demonstrations_validation.jsonl",
                                        .chat_format = {},
                                        .limit = length_limit(recipe)},
                                       recipe.sft, context.seed, context.work);
                       },
                   .scratch = {"ckpt"}};
  add_start(stage, recipe, external);
  return stage;
}

run::Stage prompts_stage(const recipe::Recipe& recipe, const recipe::Version& version) {
  run::Stage stage{.name = version.prompts, .inputs = {}, .external = {}, .run = nullptr, .scratch = {}};
  nlohmann::json config = {{"version", version.number}};
  if (from_sandbox(recipe)) {
    config["sandbox"] = json_of(recipe.sandbox);
    stage.run = [=](const run::StageContext& context) { write_sandbox_prompts(recipe, version, context); };
  } else {
    stage.inputs = {"data"};
    config["train_prompts"] = recipe.data.train_prompts;
    config["held_out"] = recipe.data.held_out;
    stage.run = [=](const run::StageContext& context) { write_file_prompts(recipe, version, context); };
  }
  stage.config = text_of(config);
  return stage;
}

run::Stage comparisons_stage(const recipe::Recipe& recipe, const recipe::Version& version) {
  const recipe::PreferenceConfig& preferences = recipe.preferences;
  nlohmann::json config = {{"temperatures", preferences.temperatures}, {"max_new_tokens", preferences.max_new_tokens}};
  if (version.number == 1) {
    config["pairs"] = preferences.pairs;
    config["public_pairs"] = preferences.public_pairs;
    config["grammar_share"] = preferences.grammar_share;
  } else {
    config["pairs"] = preferences.later_pairs;
  }
  run::Stage stage{.name = version.comparisons,
                   .schema_version = from_sandbox(recipe) ? 1 : 2,
                   .inputs = {version.prompts, version.newest},
                   .config = text_of({{"preferences", config}, {"limit", to_json(length_limit(recipe))}}),
                   .external = {},
                   .run = [=](const run::StageContext& context) { collect_comparisons(recipe, version, context); },
                   .scratch = {"ckpt"}};
  if (!version.before.empty()) stage.inputs.push_back(version.before);
  return stage;
}

// What people filled in is an input that lies outside of the run.
constexpr const char* kPeople = "people.";

std::string people_role(const recipe::Version& version) {
  return kPeople + version.preferences;
}

run::Stage preferences_stage(const recipe::Recipe& recipe, const recipe::Version& version, const Digests& external) {
  const recipe::PreferenceConfig& preferences = recipe.preferences;
  nlohmann::json config = {{"annotator", preferences.annotator},
                           {"held_out", from_sandbox(recipe) ? preferences.held_out : recipe.data.held_out},
                           {"public", version.number == 1 && preferences.public_pairs > 0}};
  if (preferences.annotator == "judge") config["model"] = preferences.judge.model;
  run::Stage stage{.name = version.preferences,
                   .inputs = {version.comparisons},
                   .config = text_of(config),
                   .external = {},
                   .run = nullptr,
                   .scratch = {"ckpt"}};
  const auto filled = external.find(people_role(version));
  if (filled != external.end()) stage.external.insert(*filled);
  const std::string people = filled == external.end() ? "" : filled->second;
  stage.run = [=](const run::StageContext& context) { annotate_comparisons(recipe, version, people, context); };
  return stage;
}

run::Stage reward_stage(const recipe::Recipe& recipe, const RewardStage& reward) {
  reward::RewardTrainConfig config = recipe.reward;
  if (reward.kind != "safety") config.loss.safety_weight = 0;  // reward_operation() does the same, so that the setting is none of theirs
  run::Stage stage{.name = reward.name,
                   .schema_version = 3,
                   .inputs = reward.batches,
                   .config = text_of({{"reward", json_of(config)},
                                      {"rest_share", reward.rest_share},
                                      {"own_pairs", recipe.mixture.own_pairs},
                                      {"drop_duplicates", recipe.mixture.drop_duplicates},
                                      {"drop_shared_prompts", recipe.mixture.drop_shared_prompts},
                                      {"limit", to_json(length_limit(recipe))}}),
                   .external = {},
                   .run = [=](const run::StageContext& context) { train_reward_stage(recipe, reward, context); },
                   .scratch = {"ckpt"}};
  stage.inputs.push_back("sft");
  if (!reward.previous.empty()) stage.inputs.push_back(reward.previous);
  return stage;
}

run::Stage rejection_stage(const recipe::Recipe& recipe, const Digests& external, const std::vector<recipe::Version>& versions,
                           const recipe::Version& version) {
  nlohmann::json config = json_of(recipe.rejection);
  config.erase("pool_from");  // what it decides stands in the inputs
  std::vector<std::string> pool;
  if (version.number >= recipe.rejection.pool_from)
    for (const auto& earlier : versions)
      if (earlier.number < version.number) pool.push_back(earlier.rejection);
  run::Stage stage{
      .name = version.rejection,
      .schema_version = 3,
      .inputs = {version.prompts, version.newest, version.helpfulness, version.safety},
      .config = text_of({{"rejection", config}, {"combination", json_of(recipe.combination)}, {"limit", to_json(length_limit(recipe))}}),
      .external = {},
      .run =
          [=](const run::StageContext& context) {
            RejectionInputs inputs{.policy = context.inputs.at(version.newest),
                                   .start = model_folder(recipe, context, "base"),
                                   .helpfulness = context.inputs.at(version.helpfulness),
                                   .safety = context.inputs.at(version.safety),
                                   .prompts = context.inputs.at(version.prompts) / "prompts_train.jsonl",
                                   .pool = {},
                                   .version = version.number,
                                   .limit = length_limit(recipe)};
            for (const auto& earlier : pool)
              inputs.pool.push_back(context.inputs.at(earlier) / "kept.jsonl.gz");
            rejection_operation(inputs, recipe.rejection, recipe.combination, context.seed, context.work);
          },
      .scratch = {"ckpt"}};
  for (const auto& earlier : pool)
    if (earlier != version.newest) stage.inputs.push_back(earlier);
  add_start(stage, recipe, external);
  return stage;
}

run::Stage ppo_stage(const recipe::Recipe& recipe, const recipe::Version& version) {
  run::Stage stage{
      .name = version.ppo,
      .schema_version = version.ppo == "ppo" ? 1 : 2,
      .inputs = {version.prompts, version.rejection, version.helpfulness, version.safety},
      .config =
          text_of({{"ppo", json_of(recipe.ppo)}, {"combination", json_of(recipe.combination)}, {"limit", to_json(length_limit(recipe))}}),
      .external = {},
      .run =
          [=](const run::StageContext& context) {
            ppo_operation({.policy = context.inputs.at(version.rejection),
                           .helpfulness = context.inputs.at(version.helpfulness),
                           .safety = context.inputs.at(version.safety),
                           .prompts = context.inputs.at(version.prompts) / "prompts_train.jsonl",
                           .held_out = context.inputs.at("data") / "prompts_validation.jsonl",
                           .pretraining = context.inputs.at("data") / (from_sandbox(recipe) ? "corpus.jsonl" : "demonstrations.jsonl"),
                           .limit = length_limit(recipe)},
                          recipe.ppo, recipe.combination, recipe::ppo_seed(version, context.seed), context.work);
          },
      .scratch = {"ckpt"}};
  if (version.prompts != "data") stage.inputs.insert(stage.inputs.begin(), "data");
  return stage;
}

// Every model of the run and every reward model of its newest version.
run::Stage evaluation_stage(const recipe::Recipe& recipe, const Digests& external) {
  nlohmann::json config = json_of(recipe.evaluation);
  config.erase("shown_dialogues");  // the report's affair
  run::Stage stage{.name = "evaluation",
                   .inputs = {"data"},
                   .config = text_of({{"evaluation", config}, {"limit", to_json(length_limit(recipe))}}),
                   .external = {},
                   .run = [recipe](const run::StageContext& context) { evaluate_models(recipe, context); },
                   .scratch = {"ckpt"}};
  for (const auto& [name, model] : recipe::run_models(recipe))
    if (name != "base") stage.inputs.push_back(model);
  for (const auto& [kind, reward] : recipe::run_reward_models(recipe))
    stage.inputs.push_back(reward);
  add_start(stage, recipe, external);
  return stage;
}

run::Stage best_of_stage(const recipe::Recipe& recipe) {
  run::Stage stage{.name = "best_of",
                   .schema_version = 2,
                   .inputs = {"data"},
                   .config = text_of({{"best_of", json_of(recipe.best_of)},
                                      {"max_new_tokens", recipe.evaluation.max_new_tokens},
                                      {"batch_rows", recipe.evaluation.batch_rows},
                                      {"split", recipe.evaluation.split},
                                      {"combination", json_of(recipe.combination)},
                                      {"limit", to_json(length_limit(recipe))}}),
                   .external = {},
                   .run = [recipe](const run::StageContext& context) { study_best_of(recipe, context); },
                   .scratch = {"ckpt"}};
  for (const auto& [name, model] : recipe::run_models(recipe))
    if (name != "base") stage.inputs.push_back(model);
  const recipe::Version newest = recipe::versions_of(recipe).back();
  stage.inputs.insert(stage.inputs.end(), {newest.helpfulness, newest.safety});
  return stage;
}

// Reads what all stages before it left.
run::Stage report_stage(const recipe::Recipe& recipe, const std::vector<run::Stage>& before) {
  run::Stage stage{.name = "report", .inputs = {}, .external = {}, .run = nullptr, .scratch = {}};
  for (const auto& earlier : before)
    stage.inputs.push_back(earlier.name);
  nlohmann::json config = json_of(recipe);
  config["data"].erase("helpful");
  config["data"].erase("harmless");
  config.erase("model");
  config.erase("threads");
  config["preferences"].erase("people");
  config["preferences"]["judge"].erase("url");
  stage.config = text_of(config);
  stage.run = [recipe, before](const run::StageContext& context) { report::write_run_report(recipe, before, context); };
  return stage;
}

// What a run reads from outside its folder, by role.
std::vector<std::pair<std::string, fs::path>> external_files(const recipe::Recipe& recipe) {
  if (from_sandbox(recipe)) return {};
  return {{"model", recipe.model}, {"data.helpful", recipe.data.helpful}, {"data.harmless", recipe.data.harmless}};
}

[[noreturn]] void refuse_missing(const std::string& role, const fs::path& path) {
  throw core::UsageError(fmt::format("{}: {} does not exist", role, path.string()));
}

}  // namespace

inference::RenderPolicy length_limit(const recipe::Recipe& recipe) {
  if (from_sandbox(recipe)) return {.allow_tags = true};  // its own models write the answers
  return {.max_tokens = recipe.data.max_tokens, .drop_oldest_turns = recipe.data.drop_oldest_turns};
}

std::filesystem::path model_folder(const recipe::Recipe& recipe, const run::StageContext& context, const std::string& name) {
  if (name == "base" && !from_sandbox(recipe)) return recipe.model;
  return context.inputs.at(name);
}

void check_external_files(const recipe::Recipe& recipe) {
  for (const auto& [role, path] : external_files(recipe))
    if (!fs::exists(path)) refuse_missing(role, path);
}

std::map<std::string, std::string> external_digests(const recipe::Recipe& recipe, const Digests& recorded) {
  Digests digests;
  for (const auto& [role, path] : external_files(recipe)) {
    if (fs::exists(path))
      digests[role] = role == "model" ? inference::model_digest(path) : core::sha256_file(path);
    else if (recorded.contains(role))
      digests[role] = recorded.at(role);
    else
      refuse_missing(role, path);
  }
  if (recipe.preferences.annotator == "people")
    for (const auto& version : recipe::versions_of(recipe)) {
      const fs::path file = fs::path(recipe.preferences.people) / (version.preferences + ".jsonl");
      if (version.comparisons.empty()) continue;
      if (fs::exists(file))
        digests[people_role(version)] = core::sha256_file(file);
      else if (recorded.contains(people_role(version)))
        digests[people_role(version)] = recorded.at(people_role(version));
    }
  return digests;
}

Digests people_digests(Digests recorded) {
  std::erase_if(recorded, [](const auto& entry) { return !entry.first.starts_with(kPeople); });
  return recorded;
}

std::vector<run::Stage> build_stages(const recipe::Recipe& recipe, const Digests& external) {
  std::vector<run::Stage> stages{data_stage(recipe, external)};
  if (from_sandbox(recipe)) stages.push_back(base_stage(recipe));
  stages.push_back(sft_stage(recipe, external));
  const std::vector<recipe::Version> versions = recipe::versions_of(recipe);
  for (const auto& version : versions) {
    const bool first = version.number == 1;
    if (!first) stages.push_back(prompts_stage(recipe, version));
    if (!version.comparisons.empty()) {
      stages.push_back(comparisons_stage(recipe, version));
      stages.push_back(preferences_stage(recipe, version, external));
    }
    if (!version.preferences.empty()) {
      const auto batches = recipe::batches_until(versions, version);
      const recipe::Version* earlier = first ? nullptr : &versions[static_cast<size_t>(version.number) - 2];
      for (const auto& [kind, model, rest_share] :
           {std::tuple("helpfulness", &recipe::Version::helpfulness, recipe.mixture.helpfulness_rest),
            std::tuple("safety", &recipe::Version::safety, recipe.mixture.safety_rest)})
        stages.push_back(reward_stage(recipe, {.name = version.*model,
                                               .kind = kind,
                                               .batches = batches,
                                               .rest_share = rest_share,
                                               .previous = first ? "" : earlier->*model}));
      if (first && recipe::has_general_reward(recipe))
        stages.push_back(
            reward_stage(recipe, {.name = recipe::kGeneralReward, .kind = "public", .batches = batches, .rest_share = 0, .previous = {}}));
    }
    if (!version.rejection.empty()) stages.push_back(rejection_stage(recipe, external, versions, version));
    if (!version.ppo.empty()) stages.push_back(ppo_stage(recipe, version));
  }
  stages.push_back(evaluation_stage(recipe, external));
  if (recipe.best_of.samples > 0) stages.push_back(best_of_stage(recipe));
  stages.push_back(report_stage(recipe, stages));
  return stages;
}

}  // namespace keel::pipelines::stages
