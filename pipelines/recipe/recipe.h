// A recipe: every setting of a staged run, one section a stage. The defaults are the paper's where it states them (departures.h has the
// exceptions); a recipe file sets its own sizes and rates.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "annotation/comparison_judge.h"
#include "core/config.h"
#include "core/named.h"
#include "pipelines/recipe/data.h"
#include "pipelines/recipe/dialogue_control.h"
#include "policy/generate.h"
#include "policy/pretrain.h"
#include "policy/sft.h"
#include "ppo/config.h"
#include "rejection_sampling/config.h"
#include "reward/combination.h"
#include "reward/train.h"
#include "sandbox/corpus.h"
#include "sandbox/dialogues.h"

namespace keel::pipelines::recipe {

struct SandboxCorpusConfig {
  int64_t vocab_size = 1024;
  sandbox::CorpusConfig corpus;
};

inline void visit(SandboxCorpusConfig& config, core::Fields& fields) {
  fields("vocab_size", config.vocab_size, "pieces of the tokenizer that is trained on the corpus", core::between(512, 8192));
  fields.section("corpus", config.corpus, "pretraining text");
}

struct SandboxDataConfig {
  sandbox::DemonstrationConfig demonstrations;
  int64_t helpful_prompts = 1200, hazard_prompts = 400, lookalike_prompts = 240;  // train, a version; a quarter of each for validation
  int64_t test_helpful = 240, test_hazard = 220, test_lookalike = 200;
};

inline void visit(SandboxDataConfig& config, core::Fields& fields) {
  fields.section("demonstrations", config.demonstrations, "SFT data");
  fields("helpful_prompts", config.helpful_prompts, "training prompts on skills, of each version", core::at_least(12));
  fields("hazard_prompts", config.hazard_prompts, "training prompts that must be refused, of each version", core::at_least(3));
  fields("lookalike_prompts", config.lookalike_prompts, "training prompts that only look hazardous, of each version", core::at_least(3));
  fields("test_helpful", config.test_helpful, "test prompts on skills", core::at_least(12));
  fields("test_hazard", config.test_hazard, "test prompts that must be refused", core::at_least(3));
  fields("test_lookalike", config.test_lookalike, "test prompts that only look hazardous", core::at_least(3));
}

struct SandboxConfig : SandboxCorpusConfig, SandboxDataConfig {
  std::string absent_skill;
  sandbox::DialogueConfig dialogues;
};

inline void visit(SandboxConfig& config, core::Fields& fields) {
  visit(static_cast<SandboxCorpusConfig&>(config), fields);
  visit(static_cast<SandboxDataConfig&>(config), fields);
  fields("absent_skill", config.absent_skill, "skill that prompts from V2 on leave out, e.g. rhyme; empty = none", {},
         {"several versions"});
  fields.section("dialogues", config.dialogues, "long dialogues", {"Ghost Attention"});
}

enum class Annotator { mild, middle, strict, judge, people, none };
constexpr auto names(Annotator) {
  return std::to_array<core::Named<Annotator>>({{Annotator::mild, "mild"},
                                                {Annotator::middle, "middle"},
                                                {Annotator::strict, "strict"},
                                                {Annotator::judge, "judge"},
                                                {Annotator::people, "people"},
                                                {Annotator::none, "none"}});
}

// Preference collection (paper 3.2.1): two answers to a prompt from model variants at varied temperatures, judged by an annotator.
struct PreferenceConfig {
  int64_t pairs = 4000;        // of each kind, for V1
  int64_t later_pairs = 4000;  // for each version after it
  int64_t public_pairs = 0;
  double grammar_share = 0.5;
  std::vector<double> temperatures{0.7, 1.0, 1.3};
  int64_t max_new_tokens = 256;
  Annotator annotator = Annotator::middle;
  std::string people;
  annotation::ComparisonJudge judge;
  double held_out = 0.15;
};

inline void visit(PreferenceConfig& config, core::Fields& fields) {
  fields("pairs", config.pairs, "comparisons of each kind for V1, before unusable ones are dropped", core::at_least(20), {"sandbox"});
  fields("later_pairs", config.later_pairs, "comparisons of each kind for every later version, by its newest two models",
         core::at_least(20), {"several versions", "an annotator"});
  fields("public_pairs", config.public_pairs,
         "comparisons of both kinds by strangers, for a general reward model and the others' mixtures; 0 = none", core::at_least(0),
         {"sandbox"});
  fields("grammar_share", config.grammar_share, "share of V1's answers that come from the grammar instead of a model", core::between(0, 1),
         {"sandbox"});
  fields("temperatures", config.temperatures, "sampling temperatures of the models' answers, one or more", core::at_least(0.01),
         {"an annotator"});
  fields("max_new_tokens", config.max_new_tokens, "longest answer in tokens", core::at_least(1), {"an annotator"});
  fields("annotator", config.annotator,
         "who compares: one of the sandbox's three; for real data the language model of `judge`, people who fill in files, or none (the "
         "given pairs are all there are)");
  fields("people", config.people, "folder with a filled-in file for each batch, preferences2.jsonl and so on", core::unkeyed(),
         {"files", "annotator people"});
  fields.section("judge", config.judge, "language model that compares", {"files", "annotator judge"});
  fields("held_out", config.held_out, "share of the prompts whose pairs test the reward models", core::between(0.01, 0.9), {"sandbox"});
}

// What a reward model learns from besides its own kind of pairs (paper 3.2.2): a uniform draw from all others.
struct MixtureConfig {
  double helpfulness_rest = 0.5;  // paper: an equal part
  double safety_rest = 0.1;       // paper: 90/10
  int64_t own_pairs = 0;
  bool drop_duplicates = false, drop_shared_prompts = false;  // not in the paper
};

inline void visit(MixtureConfig& config, core::Fields& fields) {
  fields("helpfulness_rest", config.helpfulness_rest, "share of other pairs in the helpfulness model's data, as far as there are enough",
         core::between(0, 0.9));
  fields("safety_rest", config.safety_rest, "share of other pairs in the safety model's data, likewise", core::between(0, 0.9));
  fields("own_pairs", config.own_pairs, "pairs of its own kind that a model learns from, drawn uniformly, before drop_*; 0 = all",
         core::at_least(0));
  fields("drop_duplicates", config.drop_duplicates, "leave out training pairs that repeat another (counted)");
  fields("drop_shared_prompts", config.drop_shared_prompts,
         "leave out training pairs whose prompt is held out as well, blanks and case aside (counted)");
}

// Which model reward models start from: the fine-tuned one, or the one that fine-tuning starts from.
enum class RewardStart { sft, base };
constexpr auto names(RewardStart) {
  return std::to_array<core::Named<RewardStart>>({{RewardStart::sft, "sft"}, {RewardStart::base, "base"}});
}

// Reward models that a team has already.
struct FirstRewards {
  std::string helpfulness, safety;
};

inline void visit(FirstRewards& config, core::Fields& fields) {
  fields("helpfulness", config.helpfulness, "reward model folder", core::unkeyed());
  fields("safety", config.safety, "reward model folder", core::unkeyed());
}

struct RewardSection : reward::RewardTrainConfig {
  RewardStart start = RewardStart::sft;  // paper: a chat model
  FirstRewards first;
};

inline void visit(RewardSection& config, core::Fields& fields) {
  visit(static_cast<reward::RewardTrainConfig&>(config), fields);
  fields("start", config.start, "model that reward models start from: sft, or base, the one that SFT starts from");
  fields.section("first", config.first,
                 "reward models to begin with: V1's where there are no pairs for V1, else what V1's are compared with; empty = none",
                 {"files"});
}

struct SftSection : policy::SftConfig {
  bool enabled = true;
};

inline void visit(SftSection& config, core::Fields& fields) {
  fields("enabled", config.enabled,
         "false, or null for the whole section: no fine-tuning; the start checkpoint is the chat model that V1 begins with");
  visit(static_cast<policy::SftConfig&>(config), fields);
}

struct RejectionSection : rejection_sampling::RejectionConfig {
  int64_t pool_from = 4;  // paper: up to V3 the previous iteration's samples alone
};

inline void visit(RejectionSection& config, core::Fields& fields) {
  visit(static_cast<rejection_sampling::RejectionConfig&>(config), fields);
  fields("pool_from", config.pool_from, "from this version on, fine-tuning also uses the answers kept by all earlier versions",
         core::at_least(1), {"several versions"});
}

enum class Split { test, validation };
constexpr auto names(Split) {
  return std::to_array<core::Named<Split>>({{Split::test, "test"}, {Split::validation, "validation"}});
}

struct EvaluationConfig {
  Split split = Split::test;  // validation while settings are chosen
  int64_t max_new_tokens = 256;
  int64_t batch_rows = 64;
  int64_t replicates = 10000;
};

inline void visit(EvaluationConfig& config, core::Fields& fields) {
  fields("split", config.split, "prompts to ask; choose settings on validation alone");
  fields("max_new_tokens", config.max_new_tokens, "longest answer in tokens (sampled at temperature 1)", core::at_least(1));
  fields("batch_rows", config.batch_rows, "answers decoded together; memory against speed", core::at_least(1));
  fields("replicates", config.replicates,
         "bootstrap replicates of the models' intervals; reward models and best-of-n curves always use 1000", core::at_least(100));
}

struct EvaluationSection : EvaluationConfig {
  int64_t shown_dialogues = 12;
};

inline void visit(EvaluationSection& config, core::Fields& fields) {
  visit(static_cast<EvaluationConfig&>(config), fields);
  fields("shown_dialogues", config.shown_dialogues, "prompts shown with every model's answer in the report", core::at_least(0));
}

// How the best of n answers depends on temperature, for every model (paper, figures 7 and 8).
struct BestOfConfig {
  int64_t samples = 0;
  std::vector<double> temperatures{0.6, 0.8, 1.0, 1.2, 1.4};
  int64_t prompts = 100;
};

inline void visit(BestOfConfig& config, core::Fields& fields) {
  fields("samples", config.samples, "answers to each prompt at each temperature; 0 = no such study", core::between(0, 100'000));
  fields("temperatures", config.temperatures, "sampling temperatures, one or more", core::at_least(0.01));
  fields("prompts", config.prompts, "prompts, the first of those that are held out", core::at_least(1));
}

// How a version is made.
enum class Method { rejection, ppo, reward };
constexpr auto names(Method) {
  return std::to_array<core::Named<Method>>({{Method::rejection, "rejection"}, {Method::ppo, "ppo"}, {Method::reward, "reward"}});
}

struct Recipe {
  std::string name;
  int64_t seed = 1;
  int64_t threads = 0;  // 0 = all cores
  std::string model;    // start checkpoint; "" = pretrain from nothing
  std::string base;     // of PEFT adapters; "" = the one that each names
  std::vector<std::string> versions{"rejection", "rejection", "rejection", "rejection",
                                    "ppo"};  // V1, V2, ... (paper 3.2.3); see methods_of()
  std::string chat_format;
  DataConfig data;
  SandboxConfig sandbox;
  policy::LlamaConfig llama;
  policy::PretrainConfig pretrain;
  SftSection sft;
  PreferenceConfig preferences;
  MixtureConfig mixture;
  RewardSection reward;
  reward::CombinationConfig combination;
  RejectionSection rejection;
  GattSection gatt;
  DistillSection distill;
  ppo::PpoConfig ppo;
  EvaluationSection evaluation;
  BestOfConfig best_of;
};

// recipe.cpp lists the conditions that fields name with `only_in`, and decides whether a run meets them.
inline void visit(Recipe& recipe, core::Fields& fields) {
  fields("name", recipe.name, "a run folder belongs to the recipe of this name");
  fields("seed", recipe.seed, "seed of every random draw", core::at_least(0));
  fields("threads", recipe.threads, "compute threads where --threads is not given; 0 = all cores. Changes no key",
         core::unkeyed(core::between(0, 1024)));
  fields("model", recipe.model, "model folder to start from, also a plain Hugging Face one; empty = pretrain one (sandbox)",
         core::unkeyed());
  fields("base", recipe.base, "base model of the PEFT adapters among the recipe's model folders; empty = the one that each names",
         core::unkeyed(), {"files"});
  fields(
      "versions", recipe.versions,
      "how V1, V2, ... are made: rejection, ppo (rejection sampling, then PPO on top of it), or as the last reward (reward models alone)",
      core::one_of(core::all_names<Method>()));
  fields("chat_format", recipe.chat_format,
         "how dialogues become ids: a name, or a .json file as for --chat; empty = the checkpoint's own, and llama2 in the sandbox");
  fields.section("data", recipe.data, "where the data comes from", {"files"});
  fields.section("sandbox", recipe.sandbox, "sizes of the built-in world's data", {"sandbox"});
  fields.section("llama", recipe.llama, "shape of a pretrained model", {"sandbox"});
  fields.section("pretrain", recipe.pretrain, "pretraining", {"sandbox"});
  fields.section("sft", recipe.sft, "supervised fine-tuning", {"SFT"});
  fields.section("preferences", recipe.preferences, "collection of comparisons", {"comparisons"});
  fields.section("mixture", recipe.mixture, "data of the reward models");
  fields.section("reward", recipe.reward, "both reward models");
  fields.section("combination", recipe.combination, "helpfulness and safety in one score");
  fields.section("rejection", recipe.rejection, "rejection sampling", {"rejection sampling"});
  fields.section("gatt", recipe.gatt, "Ghost Attention", {"rejection sampling"});
  fields.section("distill", recipe.distill, "safety context distillation", {"rejection sampling"});
  fields.section("ppo", recipe.ppo, "proximal policy optimisation", {"PPO"});
  fields.section("evaluation", recipe.evaluation, "evaluation on held-out prompts");
  fields.section("best_of", recipe.best_of, "best of n answers at several temperatures", {"a study of best of n"});
}

// Reads a recipe file, then the fields of `overlay` (--config; "" = none), then `settings` (--set); every problem at once. Paths inside a
// recipe are relative to the current folder. From then on PEFT adapters are read on this recipe's base.
Recipe read_recipe(const std::filesystem::path& path, const std::string& overlay, const std::vector<std::string>& settings);

// The recipe of an earlier run, from the text `config` in `origin`, with `overlay` and `settings` over it; checked, and its base used,
// as by read_recipe().
Recipe read_recorded_recipe(const std::string& config, const std::filesystem::path& origin, const std::string& overlay,
                            const std::vector<std::string>& settings);

// What a recipe sets otherwise than the defaults.
std::vector<core::Difference> changed_settings(const Recipe& recipe);

// Names of the fields that no stage of the recipe's run reads.
std::vector<std::string> unread_settings(const Recipe& recipe);

}  // namespace keel::pipelines::recipe
