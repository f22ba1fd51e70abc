// Reward models (Llama 2 paper, 3.2.2): each version trains new ones on every batch so far, and uses them unless the previous ones are
// right more often.
#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "core/jsonl.h"
#include "core/log.h"
#include "core/rng.h"
#include "data/mixture.h"
#include "data/preferences.h"
#include "data/prompts.h"
#include "data/statistics.h"
#include "evaluation/pair_evaluation.h"
#include "evaluation/reward_json.h"
#include "evaluation/statistics/json.h"
#include "inference/model_folder.h"
#include "pipelines/collection/batch.h"
#include "pipelines/collection/file_data.h"
#include "pipelines/stages/commands.h"
#include "pipelines/stages/graph.h"

namespace keel::pipelines::stages {
namespace {

using recipe::SourceKind;
using steps::fs::path;

constexpr const char* kHeldOut = "held_out.jsonl.gz";       // pairs that the reported figures are of
constexpr const char* kValidation = "validation.jsonl.gz";  // held-out pairs that choose between two models

// Training settings of the stage and the command. The safety loss counts for safety data alone.
struct TrainSettings {
  reward::RewardTrainConfig reward;
  bool drop_duplicates = false, drop_shared_prompts = false;
  inference::RenderPolicy limit;
};

void visit(TrainSettings& settings, core::Fields& fields) {
  visit(settings.reward, fields);
  fields("drop_duplicates", settings.drop_duplicates, "leave out training pairs that repeat another (counted)");
  fields("drop_shared_prompts", settings.drop_shared_prompts,
         "leave out training pairs whose prompt is held out as well, blanks and case aside (counted)");
  fields.section("limit", settings.limit, "dialogues that do not fit, and tags in messages");
}

// Neither the held-out pairs nor those in kValidation, if the folder has them, are trained on. Leaves a reward model folder with
// evaluation.json and scores.jsonl of the held-out pairs.
void train(const TrainSettings& settings, SourceKind kind, const path& chat_model, const path& pairs, const path& held_out_pairs,
           const steps::Context& context) {
  const bool safety = kind == SourceKind::safety;
  const std::string name = kind == SourceKind::public_pairs ? "general" : core::name_of(kind);
  const inference::LanguageModel chat = inference::load_language_model(chat_model);
  core::throw_if_any(reward::problems_with(settings.reward, chat.llama.config));
  const int64_t longest = chat.llama.config.max_position_embeddings;
  data::PreferenceSet train_set = data::read_preferences(pairs, {.safety = safety});
  data::PreferenceSet test_set = data::read_preferences(held_out_pairs, {.safety = safety}), unseen = test_set;
  if (const path choosing = context.work / kValidation; steps::fs::exists(choosing))
    for (auto& pair : data::read_preferences(choosing, {.safety = safety}).pairs)
      unseen.pairs.push_back(std::move(pair));
  const nlohmann::json repeats = evaluation::repeats_json(train_set), shared = evaluation::shared_json(train_set, unseen);
  if (settings.drop_duplicates) data::drop_duplicates_(train_set);
  if (settings.drop_shared_prompts) data::drop_shared_prompts_(train_set, unseen);
  const auto train = evaluation::render_set(std::move(train_set), settings.limit, chat.format, *chat.tokenizer, longest);
  const auto held_out = evaluation::render_set(std::move(test_set), settings.limit, chat.format, *chat.tokenizer, longest);

  const reward::RewardModel trained = reward::reward_start(chat.llama, settings.reward, context.seed);
  reward::train_reward_model(trained, train.rendered.pairs, settings.reward, context.seed, context.work, "reward " + name);
  const reward::RewardModel model = {policy::merged(trained.backbone), trained.score};  // the weights that are saved and measured
  const auto scored = evaluation::scored_pairs(reward::score_pairs(model, held_out.rendered.pairs), *chat.tokenizer, held_out);
  evaluation::write_scores(context.work / "scores.jsonl", scored);
  nlohmann::json result = to_json(evaluation::evaluate_reward(scored));
  result["name"] = name;
  result["counts"] = {{"train", train.counts}, {"held_out", held_out.counts}, {"repeats_in_train", repeats}, {"prompts_in_both", shared}};
  core::write_file(context.work / "evaluation.json", core::dump_json(result) + "\n");
  const nlohmann::json lineage = {{"stage", "reward"}, {"kind", name}, {"seed", context.seed}};
  inference::save_adapter(context.work / "adapter", trained, settings.reward.lora, chat.format, lineage, settings.limit);
  inference::save_scoring_model(context.work, model, chat_model, chat.format, lineage, settings.limit);
}

// ---- keel reward train ----

struct RewardSettings {
  TrainSettings train;
  bool safety = false;
};

void visit(RewardSettings& settings, core::Fields& fields) {
  visit(settings.train, fields);
  fields("safety", settings.safety,
         "safety data: the safety loss counts, and pairs whose chosen answer is unsafe and whose rejected one is safe are dropped");
}

void train_alone(const RewardSettings& settings, const steps::Context& context) {
  train(settings.train, settings.safety ? SourceKind::safety : SourceKind::helpfulness, context.at("model"), context.at("data"),
        context.at("held_out"), context);
}

steps::Step reward_step(const RewardSettings& given, const steps::Inputs& inputs) {
  RewardSettings settings = given;
  double& safety_weight = settings.train.reward.loss.safety_weight;
  if (!settings.safety && safety_weight != reward::RewardTrainConfig{}.loss.safety_weight)
    throw core::ConfigError({"loss.safety_weight: nothing reads it without --safety; give --safety, or leave it out"});
  core::throw_if_any(reward::problems_of(settings.train.reward));
  if (!settings.safety) safety_weight = 0;
  return steps::together(steps::make_step("reward", settings, inputs, train_alone));
}

// ---- the stage: a mixture of all batches, and the choice between the new model and the one before ----

struct RewardStageSettings {
  TrainSettings train;
  SourceKind kind = SourceKind::helpfulness;
  std::string previous;   // stage of the version before; "" for the first
  double rest_share = 0;  // of pairs of the other kinds (recipe::MixtureConfig)
  int64_t own_pairs = 0;
};

void visit(RewardStageSettings& settings, core::Fields& fields) {
  visit(settings.train, fields);
  fields("kind", settings.kind, "pairs of its own");
  fields("previous", settings.previous, "reward model of the version before");
  fields("rest_share", settings.rest_share, "share of other pairs");
  fields("own_pairs", settings.own_pairs, "pairs of its own kind; 0 = all");
}

std::vector<nlohmann::json> read_rows(const steps::Context& context, const std::string& name) {
  std::vector<nlohmann::json> rows;
  for (const auto& batch : context.all("batch")) {
    if (!steps::fs::exists(batch / name)) continue;  // public pairs come with the first batch alone, if at all
    core::JsonlReader reader(batch / name);
    for (nlohmann::json row; reader.next(row);)
      rows.push_back(std::move(row));
  }
  return rows;
}

// Training pairs of a kind. Unusable pairs are dropped here, because the reader of the mixture does not know whether a row was safety data,
// and because the mixture's shares count usable pairs (before mixture.drop_*).
std::vector<nlohmann::json> usable_rows(const steps::Context& context, SourceKind kind, data::Counts& counts) {
  std::vector<nlohmann::json> rows = read_rows(context, core::name_of(kind) + "_train.jsonl");
  std::erase_if(rows, [&](const auto& row) { return !data::parse_preference(row, {.safety = kind == SourceKind::safety}, counts); });
  return rows;
}

// The pairs that the model learns from, in pairs.jsonl.gz: all of its own kind, then the draw from the others.
void write_mixture(const RewardStageSettings& settings, const steps::Context& context) {
  data::Counts counts;
  std::vector<nlohmann::json> pairs = usable_rows(context, settings.kind, counts), rest;
  for (const SourceKind kind : {SourceKind::helpfulness, SourceKind::safety, SourceKind::public_pairs}) {
    if (settings.kind == kind) continue;
    auto rows = usable_rows(context, kind, counts);
    rest.insert(rest.end(), std::make_move_iterator(rows.begin()), std::make_move_iterator(rows.end()));
  }
  if (settings.own_pairs > 0 && settings.own_pairs < std::ssize(pairs)) {
    // A smaller number draws a subset of a larger one's: points of one learning curve.
    std::vector<nlohmann::json> drawn;
    const auto order = core::permutation(std::ssize(pairs), context.seed, "mixture.own", 0);
    for (int64_t i = 0; i < settings.own_pairs; ++i)
      drawn.push_back(std::move(pairs[static_cast<size_t>(order[static_cast<size_t>(i)])]));
    pairs = std::move(drawn);
  }
  const auto own = std::ssize(pairs);
  for (const int64_t row : data::draw_rest(own, std::ssize(rest), settings.rest_share, context.seed))
    pairs.push_back(rest[static_cast<size_t>(row)]);
  const int64_t drawn = std::ssize(pairs) - own, wanted = data::wanted_rest(own, settings.rest_share);
  core::log_info(fmt::format("{}: {} pairs of its own kind, {} of {} others{}", core::name_of(settings.kind), own, drawn, rest.size(),
                             drawn < wanted ? fmt::format(" ({} were wanted)", wanted) : ""));
  core::write_file(
      context.work / "mixture.json",
      core::dump_json(
          {{"own", own}, {"rest", drawn}, {"rest_wanted", wanted}, {"rest_available", rest.size()}, {"dropped", counts.dropped}}) +
          "\n");
  core::write_jsonl(context.work / "pairs.jsonl.gz", pairs);
}

// Held-out pairs of all batches. If there is a previous model, half of the conversations choose between the two models, so that the
// reported half has no part in the choice. With too few conversations for two halves all are reported, and nothing is chosen.
void write_held_out(const RewardStageSettings& settings, const steps::Context& context) {
  std::vector<nlohmann::json> reported, choosing;
  int64_t usable = 0;  // of the reported ones
  for (auto& row : read_rows(context, core::name_of(settings.kind) + "_test.jsonl")) {
    data::Counts ignored;
    const auto pair = data::parse_preference(row, {.safety = settings.kind == SourceKind::safety}, ignored);
    const bool chooses = !settings.previous.empty() && pair && collection::chooses_reward_model(pair->prompt, context.seed);
    usable += pair && !chooses ? 1 : 0;
    (chooses ? choosing : reported).push_back(std::move(row));
  }
  if (!settings.previous.empty() && (usable == 0 || choosing.empty())) {
    core::log_warn(fmt::format("{}: {} held-out conversations are too few to choose between two reward models; the new one is used",
                               core::name_of(settings.kind), usable + std::ssize(choosing)));
    std::move(choosing.begin(), choosing.end(), std::back_inserter(reported));
    choosing.clear();
  }
  core::write_jsonl(context.work / kHeldOut, reported);
  if (!choosing.empty()) core::write_jsonl(context.work / kValidation, choosing);
}

double accuracy(const nlohmann::json& evaluation) {
  return evaluation.at("accuracy").at("mean").get<double>();
}

// Copies a reward model that is used as it is into the stage's folder; `name` says where it is from.
void take_over(const path& model, SourceKind kind, const std::string& name, const path& work) {
  const inference::ScoringModel kept = inference::load_scoring_model(model);
  inference::save_scoring_model(work, kept.weights.value(), model, kept.format,
                                {{"stage", "reward"}, {"kind", core::name_of(kind)}, {"kept", name}}, kept.limit);
}

// Paper 3.2.3: the best reward model chooses answers. The previous one stays if it is right more often on the validation pairs.
void keep_better(const RewardStageSettings& settings, const steps::Context& context) {
  const path &work = context.work, earlier = context.at("previous"), validation = work / kValidation;
  const bool safety = settings.kind == SourceKind::safety;
  const auto on = [&](const path& model, const path& pairs) {
    return evaluation::evaluate_reward_model(model, pairs, safety, settings.train.limit);
  };
  nlohmann::json now = core::read_json_file(work / "evaluation.json");
  const auto retrained = on(work, validation), before = on(earlier, validation);
  const nlohmann::json choice = {{"validation_accuracy", retrained.evaluation.at("accuracy")},
                                 {"previous_accuracy", before.evaluation.at("accuracy")},
                                 {"previous_difference", to_json(evaluation::accuracy_difference(retrained.pairs, before.pairs))}};
  if (accuracy(before.evaluation) > accuracy(retrained.evaluation)) {
    core::log_info(fmt::format("{}: {:.3f} on validation pairs is less than the {:.3f} of {}, which stays", core::name_of(settings.kind),
                               accuracy(retrained.evaluation), accuracy(before.evaluation), settings.previous));
    auto [old, old_pairs] = on(earlier, work / kHeldOut);
    old["name"] = now["name"];
    old["counts"] = now["counts"];
    old["kept"] = settings.previous;
    old["retrained_accuracy"] = now["accuracy"];
    now = std::move(old);
    evaluation::write_scores(work / "scores.jsonl", old_pairs);
    steps::fs::remove_all(work / "adapter");
    take_over(earlier, settings.kind, settings.previous, work);
  }
  now.update(choice);
  core::write_file(work / "evaluation.json", core::dump_json(now) + "\n");
}

// Reads "batch": folders with <kind>_train.jsonl and <kind>_test.jsonl, oldest first; "model" and "previous" (may be missing).
void train_on_batches(const RewardStageSettings& settings, const steps::Context& context) {
  write_mixture(settings, context);
  write_held_out(settings, context);
  train(settings.train, settings.kind, context.at("model"), context.work / "pairs.jsonl.gz", context.work / kHeldOut, context);
  if (steps::fs::exists(context.work / kValidation)) keep_better(settings, context);
}

// ---- a reward model that a team has already, where there are no pairs to train one ----

struct FirstRewardSettings {
  SourceKind kind = SourceKind::helpfulness;
};

void visit(FirstRewardSettings& settings, core::Fields& fields) {
  fields("kind", settings.kind, "what it measures");
}

// Reads "first". Leaves a reward model folder without held-out pairs.
void take_first(const FirstRewardSettings& settings, const steps::Context& context) {
  take_over(context.at("first"), settings.kind, "reward.first." + core::name_of(settings.kind), context.work);
}

}  // namespace

void add_reward(steps::Plan& plan, const recipe::Version& version) {
  const recipe::Recipe& recipe = plan.recipe;
  const bool first = version.number == 1;
  const recipe::Version* earlier = first ? nullptr : &plan.versions[static_cast<size_t>(version.number) - 2];
  std::vector<steps::Source> batches, gold = {steps::output_of("data", collection::kGold)};
  for (const auto& batch : recipe::batches_until(plan.versions, version))
    batches.push_back(steps::output_of(batch));
  const auto add = [&](const std::string& name, SourceKind kind, double rest_share, const std::vector<steps::Source>& pairs,
                       const steps::Input* previous = nullptr) {
    RewardStageSettings settings{.train = {.reward = recipe.reward,
                                           .drop_duplicates = recipe.mixture.drop_duplicates,
                                           .drop_shared_prompts = recipe.mixture.drop_shared_prompts,
                                           .limit = steps::length_limit(recipe)},
                                 .kind = kind,
                                 .previous = previous == nullptr ? "" : previous->source.stage + previous->source.outside,
                                 .rest_share = rest_share,
                                 .own_pairs = recipe.mixture.own_pairs};
    // Mixtures bring labelled safety pairs to other models too, whose scores must not express safety.
    if (kind != SourceKind::safety) settings.train.reward.loss.safety_weight = 0;
    steps::Inputs inputs;
    for (const steps::Source& batch : pairs)
      inputs.push_back({"batch", batch});
    const bool from_chat = recipe.reward.start == recipe::RewardStart::sft;
    inputs.push_back({"model", from_chat ? steps::model_source(recipe, "sft") : steps::start_model(recipe)});
    if (previous != nullptr) inputs.push_back(*previous);
    plan.add(steps::together(steps::make_step(name, settings, std::move(inputs), train_on_batches)));
  };
  const auto add_version = [&](SourceKind kind, std::string recipe::Version::*name, double rest_share, const char* first_name,
                               const std::string& first_path) {
    if (!first && version.*name == earlier->*name) return;  // no new pairs of this kind
    const steps::Input given{"first", steps::from_outside(first_name, first_path)};
    const bool trains = !first || recipe::begins_with(recipe, kind);
    if (!trains) {
      plan.add(steps::make_step(version.*name, FirstRewardSettings{kind}, {given}, take_first));
      return;
    }
    const steps::Input previous{"previous", first ? given.source : steps::output_of(earlier->*name)};
    add(version.*name, kind, rest_share, batches, first && first_path.empty() ? nullptr : &previous);
  };
  add_version(SourceKind::helpfulness, &recipe::Version::helpfulness, recipe.mixture.helpfulness_rest, steps::kFirstHelpfulness,
              recipe.reward.first.helpfulness);
  add_version(SourceKind::safety, &recipe::Version::safety, recipe.mixture.safety_rest, steps::kFirstSafety, recipe.reward.first.safety);
  if (!first) return;
  if (recipe::has_general_reward(recipe)) add(recipe::kGeneralReward, SourceKind::public_pairs, 0, batches);
  if (recipe::gold_of(recipe) != recipe::Gold::models) return;
  add(recipe::kGoldHelpfulness, SourceKind::helpfulness, 0, gold);
  add(recipe::kGoldSafety, SourceKind::safety, 0, gold);
}

steps::Command reward_command() {
  using Kind = steps::Role::Kind;
  return steps::make_command(
      "reward train", "a reward model from a chat model and preference pairs", "reward model folder to write",
      {{"model", "chat model folder to start from", Kind::folder},
       {"data", "preference pairs (.jsonl, .gz, .zst, .parquet)"},
       {"held_out", "pairs that measure the result and choose none of its weights"}},
      steps::with_limit(
          {{"--safety", "safety"}, {"--drop-duplicates", "drop_duplicates"}, {"--drop-shared-prompts", "drop_shared_prompts"}}),
      reward_step);
}

}  // namespace keel::pipelines::stages
