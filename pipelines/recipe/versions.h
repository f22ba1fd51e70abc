// The versions V1, V2, ... of a run (Llama 2 paper, 3.2.3): which stages make each, and which models it starts from.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "pipelines/recipe/recipe.h"

namespace keel::pipelines::recipe {

// Names of stages; "" = the version has no such stage. A stage of V1 has the plain name, those of later versions end in their number.
struct Version {
  int64_t number = 1;
  std::string prompts;              // holds prompts_train.jsonl
  std::string data;                 // own pairs and prompts of a run on files
  bool gives_pairs = false;         // these pairs are a batch with its own test set
  std::string comparisons;          // pairs of answers that wait for an annotator
  std::string preferences;          // these pairs annotated: a batch, too
  std::string helpfulness, safety;  // reward models, trained on every batch so far
  std::string gatt;                 // Ghost Attention dialogues that fine-tuning learns, too
  std::string distill;              // distilled answers to hazardous prompts that it learns, too
  std::string rejection, ppo;       // none where a version ends with its reward models
  std::string newest, before;       // the models whose answers are compared; `newest` is also the one that rejection sampling samples
  const std::string& model() const { return ppo.empty() ? rejection : ppo; }
};

std::vector<Method> methods_of(const Recipe& recipe);  // of V1, V2, ...: its `versions`

bool from_sandbox(const Recipe& recipe);  // else from files
bool has_gatt(const Recipe& recipe);      // some version learns Ghost Attention
bool has_distillation(const Recipe& recipe);
// Whether a batch has prompts for the policy: prompts of its own, or pairs whose prompts serve where no earlier batch has any of its own.
bool gives_prompts(const Recipe& recipe, int64_t batch);
// Whether V1 has rows of a kind, whoever makes them: files of data.sources, or the sandbox.
bool begins_with(const Recipe& recipe, SourceKind kind);
// What measures answers beside the reward models that chose them: nothing, the sandbox's judges, or reward models that share no data with
// the others.
enum class Gold { none, sandbox, models };
Gold gold_of(const Recipe& recipe);

// At least one. A version whose batches hold no pairs of a kind keeps that kind's reward model of the version before.
std::vector<Version> versions_of(const Recipe& recipe);

// Stages of the batches up to `version`, oldest first.
std::vector<std::string> batches_until(const std::vector<Version>& versions, const Version& version);

// The last model of the version before the one that `stage` belongs to; "" for V1's models and those that no version makes.
std::string model_of_version_before(const std::vector<Version>& versions, const std::string& stage);

// The general reward model, where there are public pairs; it guards against drift of the other two.
inline constexpr const char* kGeneralReward = "reward_general";
bool has_general_reward(const Recipe& recipe);

// Stages of gold reward models, where a run on real data has them.
inline constexpr const char* kGoldHelpfulness = "gold_helpfulness";
inline constexpr const char* kGoldSafety = "gold_safety";

// The models that a run makes, in order, and the stages that hold them, "" for the start checkpoint of a run on real data. Without SFT the
// start model goes by the name "sft", because that is what the others are compared with, and there is no "base".
std::vector<std::pair<std::string, std::string>> run_models(const Recipe& recipe);

// Where the reward models of the newest version lie, by kind: "helpfulness", "safety", and "general" where it exists.
std::vector<std::pair<std::string, std::string>> run_reward_models(const Recipe& recipe);

}  // namespace keel::pipelines::recipe
