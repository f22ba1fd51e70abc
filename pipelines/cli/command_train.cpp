// keel pretrain, sft, reward train, rejection, ppo: one step of the recipe by itself, with the same settings as in a recipe.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "core/jsonl.h"
#include "core/log.h"
#include "data/tokenizer_export.h"
#include "inference/model_folder.h"
#include "pipelines/cli/commands.h"
#include "pipelines/cli/single_step.h"
#include "pipelines/stages/operations.h"

namespace keel::pipelines::cli {
namespace {

namespace fs = std::filesystem;

// Everything that the options of one training command name. Each command uses some of it.
struct StepOptions {
  std::string model, start, tokenizer, data, validation, prompts, reward, safety_reward, out, chat;
  std::string held_out, pretraining;
  std::vector<std::string> pool;
  int64_t version = 1;
  bool safety = false, drop_duplicates = false, drop_shared_prompts = false;
  inference::RenderPolicy limit;
};

void add_reward_inputs(CLI::App& command, StepOptions& options) {
  command.add_option("--reward", options.reward, "helpfulness reward model folder")->required()->type_name("DIR");
  command.add_option("--safety-reward", options.safety_reward, "safety reward model folder")->type_name("DIR");
  command.add_option("--prompts", options.prompts, "rows {\"messages\"} or {\"prompt\"}, \"hazard\": true for safety prompts")
      ->required()
      ->type_name("FILE");
}

// Where no prompts are held out, settings of their evaluation are a mistake.
void refuse_validation(const ppo::ValidationConfig& config, std::vector<std::string>& problems) {
  for (const auto& field : core::set_fields(config))
    problems.push_back(
        fmt::format("validation.{}: nothing reads it without held-out prompts; give --held-out FILE, or leave it out", field.name));
}

// What only a run of several versions reads; and answers learned from twice.
void check_pool(const rejection_sampling::RejectionConfig& config, const std::vector<std::string>& pool) {
  std::vector<std::string> problems;
  if (config.pool_from != rejection_sampling::RejectionConfig{}.pool_from)
    problems.emplace_back("pool_from: only a run of several versions reads it; --pool names the answers of earlier ones");
  for (size_t i = 0; i < pool.size(); ++i)
    if (std::find(pool.begin(), pool.begin() + static_cast<std::ptrdiff_t>(i), pool[i]) != pool.begin() + static_cast<std::ptrdiff_t>(i))
      problems.push_back(fmt::format("--pool {} is given twice", pool[i]));
  core::throw_if_any(std::move(problems));
}

void refuse_validate_every(const std::string& validation, const policy::BatchConfig& batch, const std::string& section) {
  if (validation.empty() && batch.validate_every != 0)
    throw core::ConfigError(
        {section + "batch.validate_every: nothing reads it without held-out rows; give --validation FILE, or leave it out"});
}

// The files that decide what a tokenizer does, where PATH is no folder: itself and its companions.
std::vector<fs::path> tokenizer_files(const fs::path& path) {
  std::vector<fs::path> files = {path};
  for (const std::string& name : data::tokenizer_companions())
    if (const fs::path beside = path.parent_path() / name; fs::is_regular_file(beside)) files.push_back(beside);
  return files;
}

void add_pretrain(CLI::App& app, Invocation& invocation) {
  struct PretrainSettings {
    policy::LlamaConfig llama;
    policy::PretrainConfig pretrain;
  };
  auto options = std::make_shared<StepOptions>();
  auto settings = std::make_shared<PretrainSettings>();
  options->chat = "llama2";
  const auto fields = [settings] {
    core::Fields all;
    all.section("llama", settings->llama, "shape of the model");
    all.section("pretrain", settings->pretrain, "training");
    return all;
  };
  CLI::App* command = app.add_subcommand("pretrain", "a language model from nothing");
  command->add_option("--data", options->data, "rows {\"text\"} or {\"messages\"}, with an optional \"source\" (.jsonl, .gz, .zst)")
      ->required()
      ->type_name("FILE");
  command->add_option("--validation", options->validation, "held-out rows: the best weights on them are kept")->type_name("FILE");
  command->add_option("--tokenizer", options->tokenizer, "a .model, tokenizer.json, .gguf or folder that holds one")
      ->required()
      ->type_name("PATH");
  command->add_option("--chat", options->chat, "chat format of {\"messages\"} rows")->capture_default_str();
  command->add_option("--out", options->out, "model folder to write")->required()->type_name("DIR");
  add_common_options(*command, invocation);
  describe_fields(*command, fields());
  command->callback([=, &invocation] {
    invocation.action = [=, &invocation] {
      configure(fields(), invocation);
      std::vector<std::string> problems;
      core::add_problems(problems, "pretrain.", policy::problems_of(settings->pretrain));
      core::throw_if_any(std::move(problems));
      refuse_validate_every(options->validation, settings->pretrain.batch, "pretrain.");
      SingleStep step{.name = "pretrain",
                      .out = options->out,
                      .config = {{"fields", core::to_json(fields())}, {"chat", options->chat}},
                      .files = {{"data", options->data}, {"validation", options->validation}},
                      .models = {}};
      if (fs::is_directory(options->tokenizer))
        step.models["tokenizer"] = options->tokenizer;
      else
        for (const auto& file : tokenizer_files(options->tokenizer))
          step.files[file.filename().string()] = file;
      run_single_step(step, invocation, [&](const fs::path& work) {
        stages::pretrain_operation(
            {.corpus = options->data, .validation = options->validation, .tokenizer = options->tokenizer, .chat_format = options->chat},
            settings->llama, settings->pretrain, invocation.seed, work);
      });
    };
  });
}

void add_sft(CLI::App& app, Invocation& invocation) {
  auto options = std::make_shared<StepOptions>();
  auto config = std::make_shared<policy::SftConfig>();
  CLI::App* command = app.add_subcommand("sft", "supervised fine-tuning on demonstrations, loss on the answers alone");
  command->add_option("--model", options->model, "model folder to start from")->required()->type_name("DIR");
  command->add_option("--data", options->data, "rows {\"messages\"}, {\"prompt\",\"completion\"} or {\"text\"} (.jsonl, .gz, .zst)")
      ->required()
      ->type_name("FILE");
  command->add_option("--validation", options->validation, "held-out rows: the best weights on them are kept")->type_name("FILE");
  command->add_option("--chat", options->chat, "chat format instead of the one in keel.json");
  command->add_option("--out", options->out, "model folder to write")->required()->type_name("DIR");
  add_render_policy(*command, options->limit);
  add_common_options(*command, invocation);
  describe_fields(*command, core::fields_of(*config));
  command->callback([=, &invocation] {
    invocation.action = [=, &invocation] {
      configure(core::fields_of(*config), invocation);
      core::throw_if_any(policy::problems_of(*config));
      refuse_validate_every(options->validation, config->batch, "");
      run_single_step({.name = "sft",
                       .out = options->out,
                       .config = {{"fields", core::json_of(*config)}, {"chat", options->chat}, {"limit", to_json(options->limit)}},
                       .files = {{"data", options->data}, {"validation", options->validation}},
                       .models = {{"model", options->model}}},
                      invocation, [&](const fs::path& work) {
                        stages::sft_operation({.model = options->model,
                                               .demonstrations = options->data,
                                               .validation = options->validation,
                                               .chat_format = options->chat,
                                               .limit = options->limit},
                                              *config, invocation.seed, work);
                      });
    };
  });
}

void add_reward(CLI::App& app, Invocation& invocation) {
  CLI::App* group = app.add_subcommand("reward", "reward models: reward train, reward eval, reward stats");
  group->require_subcommand(1);
  auto options = std::make_shared<StepOptions>();
  auto config = std::make_shared<reward::RewardTrainConfig>();
  CLI::App* train = group->add_subcommand("train", "a reward model from a chat model and preference pairs");
  train->add_option("--model", options->model, "chat model folder to start from")->required()->type_name("DIR");
  train->add_option("--data", options->data, "preference pairs (.jsonl, .gz, .zst)")->required()->type_name("FILE");
  train
      ->add_option(
          "--held-out", options->validation,
          "pairs that measure the result and choose none of its weights; in a run they also decide whether it replaces the model before it")
      ->required()
      ->type_name("FILE");
  train->add_option("--out", options->out, "reward model folder to write")->required()->type_name("DIR");
  train->add_flag(
      "--safety", options->safety,
      "safety data: the safety loss counts, and pairs whose chosen answer is unsafe and whose rejected one is safe are dropped");
  train->add_flag("--drop-duplicates", options->drop_duplicates, "leave out training pairs that repeat another (counted)");
  train->add_flag("--drop-shared-prompts", options->drop_shared_prompts,
                  "leave out training pairs whose prompt is held out as well, blanks and case aside (counted)");
  add_render_policy(*train, options->limit);
  add_common_options(*train, invocation);
  describe_fields(*train, core::fields_of(*config));
  train->callback([=, &invocation] {
    invocation.action = [=, &invocation] {
      configure(core::fields_of(*config), invocation);
      if (!options->safety && config->loss.safety_weight != reward::RewardTrainConfig{}.loss.safety_weight)
        throw core::ConfigError({"loss.safety_weight: nothing reads it without --safety; give --safety, or leave it out"});
      core::throw_if_any(reward::problems_of(*config));
      run_single_step({.name = "reward",
                       .out = options->out,
                       .config = {{"fields", core::json_of(*config)},
                                  {"safety", options->safety},
                                  {"drop_duplicates", options->drop_duplicates},
                                  {"drop_shared_prompts", options->drop_shared_prompts},
                                  {"limit", to_json(options->limit)}},
                       .files = {{"data", options->data}, {"validation", options->validation}},
                       .models = {{"model", options->model}}},
                      invocation, [&](const fs::path& work) {
                        stages::reward_operation({.model = options->model,
                                                  .pairs = options->data,
                                                  .held_out = options->validation,
                                                  .safety = options->safety,
                                                  .name = options->safety ? "safety" : "helpfulness",
                                                  .drop_duplicates = options->drop_duplicates,
                                                  .drop_shared_prompts = options->drop_shared_prompts,
                                                  .limit = options->limit},
                                                 *config, invocation.seed, work);
                      });
    };
  });
  add_reward_eval(*group, invocation);
  add_reward_stats(*group, invocation);
}

void add_rejection(CLI::App& app, Invocation& invocation) {
  struct RejectionSettings {
    rejection_sampling::RejectionConfig rejection;
    reward::CombinationConfig combination;
  };
  auto options = std::make_shared<StepOptions>();
  auto settings = std::make_shared<RejectionSettings>();
  const auto fields = [settings] {
    core::Fields all = core::fields_of(settings->rejection);
    all.section("combination", settings->combination, "helpfulness and safety in one score");
    return all;
  };
  CLI::App* command =
      app.add_subcommand("rejection", "rejection sampling: the best of K answers by the reward models, then fine-tuning on them");
  command->add_option("--model", options->model, "model that answers: the most recent one")->required()->type_name("DIR");
  command->add_option("--start", options->start, "model that is fine-tuned: the base model; --model when left out")->type_name("DIR");
  add_reward_inputs(*command, *options);
  command->add_option("--pool", options->pool, "kept.jsonl.gz of an earlier version, whose answers are learned from as well; repeat it")
      ->type_name("FILE");
  command->add_option("--version", options->version, "N of the version VN that this makes: each draws its answers apart, and marks them")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{1}, int64_t{1'000'000}));
  command->add_option("--out", options->out, "model folder to write")->required()->type_name("DIR");
  add_render_policy(*command, options->limit);
  add_common_options(*command, invocation);
  describe_fields(*command, fields());
  command->callback([=, &invocation] {
    invocation.action = [=, &invocation] {
      configure(fields(), invocation);
      check_pool(settings->rejection, options->pool);
      const std::string start = options->start.empty() ? options->model : options->start;
      std::map<std::string, fs::path> files = {{"prompts", options->prompts}};
      for (size_t i = 0; i < options->pool.size(); ++i)
        files[fmt::format("pool{}", i)] = options->pool[i];
      nlohmann::json config = {{"fields", core::to_json(fields())}, {"limit", to_json(options->limit)}};
      if (options->version != 1) config["version"] = options->version;
      run_single_step(
          {.name = "rejection",
           .out = options->out,
           .config = config,
           .files = files,
           .models = {{"model", options->model}, {"start", start}, {"reward", options->reward}, {"safety_reward", options->safety_reward}}},
          invocation, [&](const fs::path& work) {
            stages::rejection_operation({.policy = options->model,
                                         .start = start,
                                         .helpfulness = options->reward,
                                         .safety = options->safety_reward,
                                         .prompts = options->prompts,
                                         .pool = {options->pool.begin(), options->pool.end()},
                                         .version = options->version,
                                         .limit = options->limit},
                                        settings->rejection, settings->combination, invocation.seed, work);
          });
    };
  });
}

void add_ppo(CLI::App& app, Invocation& invocation) {
  struct PpoSettings {
    ppo::PpoConfig ppo;
    reward::CombinationConfig combination;
  };
  auto options = std::make_shared<StepOptions>();
  auto settings = std::make_shared<PpoSettings>();
  const auto fields = [settings] {
    core::Fields all = core::fields_of(settings->ppo);
    all.section("combination", settings->combination, "helpfulness and safety in one score");
    return all;
  };
  CLI::App* command = app.add_subcommand("ppo", "proximal policy optimisation with a KL penalty against the starting model");
  command->add_option("--model", options->model, "model folder to start from, also the KL reference")->required()->type_name("DIR");
  add_reward_inputs(*command, *options);
  command->add_option("--held-out", options->held_out, "prompts, as in --prompts, that choose which weights are kept and when to stop")
      ->type_name("FILE");
  command->add_option("--pretraining", options->pretraining, "rows {\"text\"} or {\"messages\"} for ptx.weight")->type_name("FILE");
  command->add_option("--out", options->out, "model folder to write, with the critic in critic/")->required()->type_name("DIR");
  add_render_policy(*command, options->limit);
  add_common_options(*command, invocation);
  describe_fields(*command, fields());
  command->callback([=, &invocation] {
    invocation.action = [=, &invocation] {
      configure(fields(), invocation);
      std::vector<std::string> problems = ppo::problems_of(settings->ppo);
      if (options->held_out.empty()) refuse_validation(settings->ppo.validation, problems);
      core::throw_if_any(std::move(problems));
      if (options->pretraining.empty() != (settings->ppo.ptx.weight == 0))
        throw core::UsageError("--pretraining and ptx.weight above 0 go together: give both or neither");
      run_single_step({.name = "ppo",
                       .out = options->out,
                       .config = {{"fields", core::to_json(fields())}, {"limit", to_json(options->limit)}},
                       .files = {{"prompts", options->prompts}, {"held_out", options->held_out}, {"pretraining", options->pretraining}},
                       .models = {{"model", options->model}, {"reward", options->reward}, {"safety_reward", options->safety_reward}}},
                      invocation, [&](const fs::path& work) {
                        stages::ppo_operation({.policy = options->model,
                                               .helpfulness = options->reward,
                                               .safety = options->safety_reward,
                                               .prompts = options->prompts,
                                               .held_out = options->held_out,
                                               .pretraining = options->pretraining,
                                               .limit = options->limit},
                                              settings->ppo, settings->combination, invocation.seed, work);
                      });
    };
  });
}

}  // namespace

void add_training_commands(CLI::App& app, Invocation& invocation) {
  add_pretrain(app, invocation);
  add_sft(app, invocation);
  add_reward(app, invocation);
  add_rejection(app, invocation);
  add_ppo(app, invocation);
}

}  // namespace keel::pipelines::cli
