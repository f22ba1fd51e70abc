#include "pipelines/stages.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "pipelines/model_folder.h"
#include "pipelines/operations.h"

namespace keel::pipelines {
namespace {

bool from_sandbox(const Recipe& recipe) {
  return recipe.data.source == "sandbox";
}

template <class Config>
nlohmann::json json_of(Config config) {
  return core::to_json(core::fields_of(config));
}

std::string text_of(const nlohmann::json& object) {
  return core::dump_json(object);
}

using Digests = std::map<std::string, std::string>;

Stage data_stage(const Recipe& recipe, const Digests& external) {
  Stage stage{.name = "data", .inputs = {}, .external = {}, .run = nullptr, .scratch = {}};
  if (from_sandbox(recipe)) {
    stage.config = text_of({{"sandbox", json_of(recipe.sandbox)}});
    stage.run = [recipe](const StageContext& context) { write_sandbox_data(recipe, context); };
  } else {
    nlohmann::json config = json_of(recipe.data);
    config.erase("helpful");  // their contents count, not where they lie
    config.erase("harmless");
    stage.config = text_of(config);
    for (const char* role : {"data.helpful", "data.harmless"})
      stage.external[role] = external.at(role);
    stage.run = [recipe](const StageContext& context) { write_file_data(recipe, context); };
  }
  return stage;
}

Stage base_stage(const Recipe& recipe) {
  return {
      .name = "base",
      .inputs = {"data"},
      .config = text_of({{"llama", json_of(recipe.llama)}, {"pretrain", json_of(recipe.pretrain)}, {"chat_format", recipe.chat_format}}),
      .external = {},
      .run =
          [recipe](const StageContext& context) {
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
void add_start(Stage& stage, const Recipe& recipe, const Digests& external) {
  if (from_sandbox(recipe))
    stage.inputs.push_back("base");
  else
    stage.external["model"] = external.at("model");
}

Stage sft_stage(const Recipe& recipe, const Digests& external) {
  Stage stage{.name = "sft",
              .inputs = {"data"},
              .config = text_of({{"sft", json_of(recipe.sft)}, {"limit", to_json(length_limit(recipe))}}),
              .external = {},
              .run =
                  [recipe](const StageContext& context) {
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

Stage preferences_stage(const Recipe& recipe) {
  return {.name = "preferences",
          .schema_version = 3,
          .inputs = {"data", "sft"},
          .config = text_of({{"preferences", json_of(recipe.preferences)}}),
          .external = {},
          .run = [recipe](const StageContext& context) { collect_preferences(recipe, context); },
          .scratch = {"ckpt"}};
}

Stage reward_stage(const Recipe& recipe, const std::string& kind) {
  const bool safety = kind == "safety";
  reward::RewardTrainConfig config = recipe.reward;
  if (!safety) config.loss.safety_weight = 0;  // helpfulness pairs carry no safety labels
  const std::string source = from_sandbox(recipe) ? "preferences" : "data";
  return {.name = "reward_" + kind,
          .inputs = {source, "sft"},
          .config = text_of({{"reward", json_of(config)}, {"limit", to_json(length_limit(recipe))}}),
          .external = {},
          .run =
              [=](const StageContext& context) {
                const fs::path pairs = context.inputs.at(source);
                reward_operation({.model = context.inputs.at("sft"),
                                  .pairs = pairs / (kind + "_train.jsonl"),
                                  .held_out = pairs / (kind + "_test.jsonl"),
                                  .safety = safety,
                                  .limit = length_limit(recipe)},
                                 config, context.seed, context.work);
              },
          .scratch = {"ckpt"}};
}

Stage rejection_stage(const Recipe& recipe, const Digests& external) {
  Stage stage{.name = "rs1",
              .inputs = {"data", "sft", "reward_helpfulness", "reward_safety"},
              .config = text_of({{"rejection", json_of(recipe.rejection)},
                                 {"combination", json_of(recipe.combination)},
                                 {"limit", to_json(length_limit(recipe))}}),
              .external = {},
              .run =
                  [recipe](const StageContext& context) {
                    rejection_operation({.policy = context.inputs.at("sft"),
                                         .start = model_folder(recipe, context, "base"),
                                         .helpfulness = context.inputs.at("reward_helpfulness"),
                                         .safety = context.inputs.at("reward_safety"),
                                         .prompts = context.inputs.at("data") / "prompts_train.jsonl",
                                         .limit = length_limit(recipe)},
                                        recipe.rejection, recipe.combination, context.seed, context.work);
                  },
              .scratch = {"ckpt"}};
  add_start(stage, recipe, external);
  return stage;
}

Stage ppo_stage(const Recipe& recipe) {
  return {.name = "ppo",
          .inputs = {"data", "rs1", "reward_helpfulness", "reward_safety"},
          .config = text_of(
              {{"ppo", json_of(recipe.ppo)}, {"combination", json_of(recipe.combination)}, {"limit", to_json(length_limit(recipe))}}),
          .external = {},
          .run =
              [recipe](const StageContext& context) {
                ppo_operation({.policy = context.inputs.at("rs1"),
                               .helpfulness = context.inputs.at("reward_helpfulness"),
                               .safety = context.inputs.at("reward_safety"),
                               .prompts = context.inputs.at("data") / "prompts_train.jsonl",
                               .limit = length_limit(recipe)},
                              recipe.ppo, recipe.combination, context.seed, context.work);
              },
          .scratch = {"ckpt"}};
}

Stage evaluation_stage(const Recipe& recipe, const Digests& external) {
  Stage stage{.name = "evaluation",
              .inputs = {"data", "sft", "reward_helpfulness", "reward_safety", "rs1", "ppo"},
              .config = text_of({{"evaluation", json_of(recipe.evaluation)}, {"limit", to_json(length_limit(recipe))}}),
              .external = {},
              .run = [recipe](const StageContext& context) { evaluate_models(recipe, context); },
              .scratch = {"ckpt"}};
  add_start(stage, recipe, external);
  return stage;
}

Stage report_stage(const Recipe& recipe) {
  Stage stage{.name = "report",
              .inputs = {"data", "sft", "reward_helpfulness", "reward_safety", "rs1", "ppo", "evaluation"},
              .external = {},
              .run = nullptr,
              .scratch = {}};
  if (from_sandbox(recipe)) stage.inputs.insert(stage.inputs.begin() + 1, {"base", "preferences"});
  nlohmann::json config = json_of(recipe);
  config["data"].erase("helpful");
  config["data"].erase("harmless");
  config.erase("model");
  config.erase("threads");
  stage.config = text_of(config);
  stage.run = [recipe](const StageContext& context) { write_run_report(recipe, context); };
  return stage;
}

}  // namespace

RenderPolicy length_limit(const Recipe& recipe) {
  if (from_sandbox(recipe)) return {.allow_tags = true};  // its own models write the answers
  return {.max_tokens = recipe.data.max_tokens, .drop_oldest_turns = recipe.data.drop_oldest_turns};
}

std::filesystem::path model_folder(const Recipe& recipe, const StageContext& context, const std::string& name) {
  if (name == "base" && !from_sandbox(recipe)) return recipe.model;
  return context.inputs.at(name);
}

std::vector<std::pair<std::string, std::string>> run_models(const Recipe& recipe) {
  return {{"base", from_sandbox(recipe) ? "base" : ""}, {"sft", "sft"}, {"rs1", "rs1"}, {"ppo", "ppo"}};
}

std::map<std::string, std::string> external_digests(const Recipe& recipe, const Digests& recorded) {
  if (from_sandbox(recipe)) return {};
  Digests digests;
  for (const auto& [role, path] : {std::pair<std::string, fs::path>{"model", recipe.model},
                                   {"data.helpful", recipe.data.helpful},
                                   {"data.harmless", recipe.data.harmless}}) {
    if (fs::exists(path))
      digests[role] = role == "model" ? model_digest(path) : core::sha256_file(path);
    else if (recorded.contains(role))
      digests[role] = recorded.at(role);
    else
      throw core::UsageError(fmt::format("{}: {} does not exist", role, path.string()));
  }
  return digests;
}

std::vector<Stage> build_stages(const Recipe& recipe, const Digests& external) {
  std::vector<Stage> stages{data_stage(recipe, external)};
  if (from_sandbox(recipe)) stages.push_back(base_stage(recipe));
  stages.push_back(sft_stage(recipe, external));
  if (from_sandbox(recipe)) stages.push_back(preferences_stage(recipe));
  stages.push_back(reward_stage(recipe, "helpfulness"));
  stages.push_back(reward_stage(recipe, "safety"));
  stages.push_back(rejection_stage(recipe, external));
  stages.push_back(ppo_stage(recipe));
  stages.push_back(evaluation_stage(recipe, external));
  stages.push_back(report_stage(recipe));
  return stages;
}

}  // namespace keel::pipelines
