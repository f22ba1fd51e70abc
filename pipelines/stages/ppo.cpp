// PPO (Llama 2 paper, 3.2.3) from a model that is also the KL reference.
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "core/rng.h"
#include "inference/prompts.h"
#include "inference/remote_reward.h"
#include "inference/reward_models.h"
#include "pipelines/stages/commands.h"
#include "pipelines/stages/corpus.h"
#include "pipelines/stages/graph.h"
#include "ppo/train.h"

namespace keel::pipelines::stages {
namespace {

struct PpoSettings {
  ppo::PpoConfig ppo;
  reward::CombinationConfig combination;
  inference::RenderPolicy limit;
  std::string draws;
};

void visit(PpoSettings& settings, core::Fields& fields) {
  visit(settings.ppo, fields);
  fields.section("combination", settings.combination, "helpfulness and safety in one score");
  fields.section("limit", settings.limit, "prompts that do not fit, and tags in messages");
  fields("draws", settings.draws,
         "name of the random draws: a second PPO of one seed must not repeat those of the first; empty = the seed's");
}

// Reads "model", "reward", "safety_reward", "prompts", "held_out" (prompts that choose the weights to keep) and "pretraining" (rows as for
// pretraining or SFT, where ptx.weight > 0); all but model, reward and prompts may be missing. Leaves a model folder, its critic in
// critic/.
void optimise(const PpoSettings& settings, const steps::Context& context) {
  const ppo::PpoConfig& config = settings.ppo;
  const uint64_t seed = settings.draws.empty() ? context.seed : core::Stream(context.seed, settings.draws).next();
  inference::LanguageModel policy = inference::load_language_model(context.at("model"), {}, inference::weights_for(config.lora));
  policy.llama = policy::merged(policy.llama);  // new adapters go on top of one that it has: policy and reference share the sum
  core::throw_if_any(ppo::problems_with(config, policy.llama.config));
  const bool remote = inference::is_remote(context.at("reward"));
  const auto models = inference::load_reward_models(context.at("reward"), context.maybe("safety_reward"), context.at("model"));
  const auto read = [&](const char* role) {
    return inference::read_prompt_file(context.at(role), policy, settings.limit, config.sampling.max_new_tokens);
  };
  const inference::Prompts prompts = read("prompts");
  nlohmann::json counts = {{"prompts", to_json(prompts.counts)}};
  ppo::PpoJob job{.prompts = prompts.ids,
                  .stop_ids = data::stop_ids(policy.format, *policy.tokenizer),
                  .reward = inference::reward_function(models, prompts.ids, prompts.hazard, settings.combination),
                  .sources = prompts.sources};
  inference::Prompts held_out;  // the job's rewards refer to it
  if (!context.maybe("held_out").empty()) {
    held_out = read("held_out");
    counts["held_out"] = to_json(held_out.counts);
    job.held_out = {.prompts = held_out.ids,
                    .reward = inference::reward_function(models, held_out.ids, held_out.hazard, settings.combination)};
  }
  if (const auto corpus = context.maybe("pretraining"); !corpus.empty())
    job.pretraining = read_corpus(corpus, policy.format, *policy.tokenizer, policy.llama.config.max_position_embeddings,
                                  settings.limit.allow_tags ? data::TagPolicy::allow : data::TagPolicy::refuse, counts)
                          .sequences;
  core::write_file(context.work / "counts.json", core::dump_json(counts) + "\n");
  const reward::RewardModel critic = ppo::make_critic(config, policy.llama, models.helpfulness.weights);
  const ppo::PpoResult result = ppo::train(policy.llama, critic, job, config, seed, context.work);
  nlohmann::json seconds;
  for (const auto& [phase, spent] : ppo::row_of(result.times))
    seconds[phase] = spent;
  core::write_file(context.work / "timings.json", core::dump_json(seconds) + "\n");
  inference::save_scoring_model(context.work / "critic", result.critic, remote ? context.at("model") : context.at("reward"), policy.format,
                                {{"stage", "ppo"}, {"kind", "critic"}, {"seed", seed}}, settings.limit);
  const nlohmann::json lineage = {
      {"stage", "ppo"}, {"seed", seed}, {"iterations", result.iterations}, {"kept_iteration", result.kept_iteration}};
  if (config.lora.rank > 0) inference::write_keel_json(context.work / "adapter", policy.format, lineage, settings.limit);
  inference::save_language_model(context.work, result.policy, context.at("model"), policy.format, lineage, settings.limit);
}

steps::Step ppo_step(const PpoSettings& settings, const steps::Inputs& inputs) {
  std::vector<std::string> problems = ppo::problems_of(settings.ppo);
  if (!steps::has_role(inputs, "held_out"))
    for (const auto& field : core::set_fields(settings.ppo.validation))
      problems.push_back("validation." + field.name + ": nothing reads it without held-out prompts; give --held-out FILE, or leave it out");
  if (!steps::has_role(inputs, "safety_reward")) {
    for (auto& problem : inference::unread_combination(settings.combination))
      problems.push_back(std::move(problem));
    if (settings.ppo.score.whiten_scope == ppo::WhitenScope::deciding_model)
      problems.emplace_back(
          "score.whiten_scope: without a safety reward model deciding_model is the same as batch; give --safety-reward, or leave it out");
  }
  for (const auto& input : inputs)
    if (input.role == "reward" && settings.ppo.critic == ppo::Critic::reward && inference::is_remote(input.source.path))
      problems.emplace_back(
          "critic: the weights of a reward model at an address are not here to start from; set it to \"policy\" or \"shared\"");
  core::throw_if_any(std::move(problems));
  if (steps::has_role(inputs, "pretraining") != (settings.ppo.ptx.weight > 0))
    throw core::UsageError("--pretraining and ptx.weight above 0 go together: give both or neither");
  return steps::together(steps::make_step("ppo", settings, inputs, optimise));
}

}  // namespace

void add_ppo(steps::Plan& plan, const recipe::Version& version) {
  if (version.ppo.empty()) return;
  const recipe::Recipe& recipe = plan.recipe;
  steps::Inputs inputs = {{"prompts", steps::output_of(version.prompts, "prompts_train.jsonl")},
                          {"model", steps::output_of(version.rejection)},
                          {"reward", steps::output_of(version.helpfulness)},
                          {"safety_reward", steps::output_of(version.safety)},
                          {"held_out", steps::output_of("data", "prompts_validation.jsonl")}};
  if (recipe.ppo.ptx.weight > 0)
    inputs.push_back({"pretraining", recipe::begins_with(recipe, recipe::SourceKind::pretraining)
                                         ? steps::output_of("corpus", "corpus.jsonl")
                                         : steps::output_of("data", "demonstrations.jsonl")});
  steps::Step step = ppo_step({.ppo = recipe.ppo,
                               .combination = recipe.combination,
                               .limit = steps::length_limit(recipe),
                               .draws = version.ppo == "ppo" ? "" : version.ppo},
                              inputs);
  step.name = version.ppo;
  plan.add(step);
}

steps::Command ppo_command() {
  using Kind = steps::Role::Kind;
  return steps::make_command(
      "ppo", "proximal policy optimisation with a KL penalty against the starting model",
      "model folder to write, with the critic in critic/",
      {{"model", "model folder to start from, also the KL reference", Kind::folder},
       {"reward", "helpfulness reward model folder", Kind::folder},
       {"safety_reward", "safety reward model folder", Kind::folder, false},
       {"prompts", R"(rows {"messages"} or {"prompt"}, "hazard": true for safety prompts)"},
       {"held_out", "prompts, as in --prompts, that choose which weights are kept and when to stop", Kind::file, false},
       {"pretraining", R"(rows {"text"} or {"messages"} for ptx.weight)", Kind::file, false}},
      steps::with_limit({}), ppo_step);
}

}  // namespace keel::pipelines::stages
