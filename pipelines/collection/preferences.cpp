// An annotator's choice between two answers (Llama 2 paper, 3.2.1): a batch of preference pairs with a test set of its own.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "core/jsonl.h"
#include "core/log.h"
#include "core/named.h"
#include "core/rng.h"
#include "data/messages.h"
#include "data/preferences.h"
#include "data/prompts.h"
#include "evaluation/statistics/interval.h"
#include "evaluation/statistics/json.h"
#include "pipelines/collection/batch.h"
#include "pipelines/collection/verdicts.h"
#include "pipelines/steps/plan.h"
#include "sandbox/annotator.h"
#include "sandbox/prompts.h"

namespace keel::pipelines::collection {
namespace {

using recipe::SourceKind;

struct AnnotationSettings {
  bool sandbox = true;
  int64_t version = 1;
  bool public_pairs = false;
  recipe::Annotator annotator = recipe::Annotator::none;
  annotation::ComparisonJudge judge;
  std::string people;  // SHA-256 of the file that people filled in; "" where there is none
  double held_out = 0;
  std::string newest, before;  // the models whose answers are compared; the latter is "" in V1
};

void visit(AnnotationSettings& settings, core::Fields& fields) {
  fields("sandbox", settings.sandbox, "prompts of the sandbox");
  fields("version", settings.version, "N of VN");
  fields("public_pairs", settings.public_pairs, "whether there are comparisons by strangers");
  fields("annotator", settings.annotator, "who compares");
  fields.section("judge", settings.judge, "the language model that compares");
  fields("people", settings.people, "SHA-256 of what people filled in");
  fields("held_out", settings.held_out, "share of the prompts whose pairs test");
  fields("newest", settings.newest, "the newest model");
  fields("before", settings.before, "the one before it");
}

const sandbox::Annotator& of_sandbox(recipe::Annotator chosen) {
  const std::string name = core::name_of(chosen);
  const auto& all = sandbox::annotators();
  return *std::find_if(all.begin(), all.end(), [&](const auto& annotator) { return annotator.name == name; });
}

// The best possible accuracy on test pairs, given the annotator's noise: the mean of sandbox/annotator.h's accuracies over the pairs that a
// reward model is measured on, over all and by recorded strength.
struct Ceiling {
  double sum = 0;
  int64_t pairs = 0;
  void add(double accuracy) { sum += accuracy, ++pairs; }
  nlohmann::json to_json() const {
    return {{"best_possible_accuracy", pairs > 0 ? sum / static_cast<double>(pairs) : 0}, {"pairs", pairs}};
  }
};

struct KindCeilings {
  Ceiling all;
  std::array<Ceiling, 5> by_strength;

  // `accuracy` takes the strength to condition on; 0 = none.
  void add(int strength, const std::function<double(int)>& accuracy) {
    all.add(accuracy(0));
    by_strength.at(static_cast<size_t>(strength)).add(accuracy(strength));
  }
  nlohmann::json to_json() const {
    nlohmann::json object = all.to_json();
    for (size_t strength = 1; strength < by_strength.size(); ++strength)
      object["by_strength"].push_back(by_strength[strength].to_json());
    return object;
  }
};

// Training and test pairs of one kind, and the best possible accuracy on the latter.
struct KindFiles {
  core::JsonlWriter train, test;
  KindCeilings ceilings;
  KindCeilings reported;  // of those that do not choose between reward models, from V2 on
  KindFiles(const steps::fs::path& work, const std::string& kind)
      : train(work / (kind + "_train.jsonl")), test(work / (kind + "_test.jsonl")) {}
};

// How often the newest model's answer was chosen over another one of the model before, by kind: versus_before.json, from V2 on.
class NewAgainstOld {
 public:
  NewAgainstOld(const AnnotationSettings& settings, const std::vector<nlohmann::json>& comparisons)
      : settings_(settings), comparisons_(comparisons) {}

  void add(size_t comparison, size_t chosen) {
    if (settings_.before.empty()) return;
    const nlohmann::json& row = comparisons_[comparison];
    const auto model = [&](size_t side) { return row.at("answers").at(side).at("model").get<std::string>(); };
    if (model(0) == model(1) || annotation::answer_text(row, 0) == annotation::answer_text(row, 1)) return;
    const size_t prompt = prompts_.try_emplace(core::dump_json(row.at("messages")), prompts_.size()).first->second;
    by_kind_[row.at("kind").get<std::string>()].add(prompt, model(chosen) == settings_.newest);
  }

  void write(const steps::fs::path& work) const {
    if (settings_.before.empty()) return;
    nlohmann::json object = {{"newest", settings_.newest}, {"before", settings_.before}, {"kinds", nlohmann::json::object()}};
    for (const auto& [kind, tally] : by_kind_) {
      const auto share = tally.interval();
      object["kinds"][kind] = to_json(share);
      object["kinds"][kind]["comparisons"] = tally.all().trials;
      core::log_info(fmt::format("{}: {} was better than {} in {} of {} comparisons, {:.3f} [{:.3f}, {:.3f}]", kind, settings_.newest,
                                 settings_.before, tally.all().successes, tally.all().trials, share.mean, share.low, share.high));
    }
    core::write_file(work / "versus_before.json", core::dump_json(object) + "\n");
  }

 private:
  const AnnotationSettings& settings_;
  const std::vector<nlohmann::json>& comparisons_;
  std::map<std::string, size_t> prompts_;                         // prompts are drawn with repeats: comparisons on one are not independent
  std::map<std::string, evaluation::statistics::Tally> by_kind_;  // wins of the newest
};

SourceKind kind_of(const nlohmann::json& comparison) {
  return core::named<SourceKind>(comparison.at("kind").get<std::string>());
}

std::vector<nlohmann::json> read_comparisons(const steps::Context& context) {
  std::vector<nlohmann::json> rows;
  core::JsonlReader reader(context.at("comparisons") / "comparisons.jsonl.gz");
  for (nlohmann::json row; reader.next(row);)
    rows.push_back(std::move(row));
  return rows;
}

void annotate_sandbox(const AnnotationSettings& settings, const steps::Context& context, const std::vector<nlohmann::json>& comparisons,
                      std::map<SourceKind, KindFiles>& files) {
  const sandbox::World world = sandbox::make_world(context.seed);
  NewAgainstOld versus(settings, comparisons);
  for (size_t i = 0; i < comparisons.size(); ++i) {
    const auto prompt = sandbox::prompt_from_json(comparisons[i], "comparisons", static_cast<int64_t>(i) + 1);
    const std::string first = annotation::answer_text(comparisons[i], 0), second = annotation::answer_text(comparisons[i], 1);
    const SourceKind kind = kind_of(comparisons[i]);
    const bool by_safety = kind == SourceKind::safety || (kind == SourceKind::public_pairs && prompt.hazard);
    const auto judged = by_safety ? sandbox::Kind::safety : sandbox::Kind::helpfulness;
    // Like real public data: noisy choices of other people, without strengths and labels.
    const sandbox::Annotator& annotator = kind == SourceKind::public_pairs ? sandbox::stranger() : of_sandbox(settings.annotator);
    core::Stream stream(context.seed, purpose_of(settings.version, ".annotator"), i);
    auto pair = sandbox::annotate(world, prompt, first, second, judged, annotator, stream);
    pair.batch = std::to_string(settings.version);
    const int strength = pair.strength;
    versus.add(i, pair.chosen == first ? 0 : 1);
    if (kind == SourceKind::public_pairs) {
      pair.source = "sandbox-public";
      pair.strength = 0;
      pair.chosen_safe.reset();
      pair.rejected_safe.reset();
    }
    KindFiles& of_kind = files.at(kind);
    const bool test = data::held_out(prompt.dialogue, settings.held_out, context.seed);
    (test ? of_kind.test : of_kind.train).write(data::preference_json(pair));
    const bool drops_unsafe = kind == SourceKind::safety;
    data::Counts ignored;  // pairs that the reward model's reader drops are not measured
    if (!test || !data::parse_preference(data::preference_json(pair), {.safety = drops_unsafe}, ignored)) continue;
    const auto accuracy = [&](int given) {
      if (drops_unsafe) return sandbox::kept_bayes_accuracy(world, prompt, first, second, annotator, given);
      return sandbox::bayes_accuracy(sandbox::perceived_gap(world, prompt, first, second, judged, annotator), annotator, given);
    };
    of_kind.ceilings.add(strength, accuracy);
    if (!chooses_reward_model(prompt.dialogue, context.seed)) of_kind.reported.add(strength, accuracy);
  }
  versus.write(context.work);
  nlohmann::json ceilings;
  for (const auto& [kind, of_kind] : files) {
    nlohmann::json& row = ceilings[core::name_of(kind)] = of_kind.ceilings.to_json();
    row["reported"] = of_kind.reported.to_json();
  }
  core::write_file(context.work / "annotator.json", core::dump_json(ceilings) + "\n");
}

// The file that people fill in. Older comparisons lack it and are shown as they are.
steps::fs::path file_for_people(const steps::fs::path& comparisons) {
  return comparisons / (steps::fs::exists(comparisons / kForPeople) ? kForPeople : "comparisons.jsonl.gz");
}

core::PreferencePair pair_of(const nlohmann::json& comparison, const annotation::Verdict& verdict, int64_t version) {
  const std::string kind = comparison.at("kind");
  const size_t chosen = verdict.first ? 0 : 1;
  core::PreferencePair pair;
  pair.prompt = data::parse_messages(comparison.at("messages"), "messages");
  pair.chosen = annotation::answer_text(comparison, chosen);
  pair.rejected = annotation::answer_text(comparison, 1 - chosen);
  pair.strength = verdict.strength;
  pair.chosen_safe = verdict.first ? verdict.first_safe : verdict.second_safe;
  pair.rejected_safe = verdict.first ? verdict.second_safe : verdict.first_safe;
  pair.source = "collected-" + kind;
  pair.batch = std::to_string(version);
  return pair;
}

BatchVerdicts real_verdicts(const AnnotationSettings& settings, const steps::Context& context,
                            const std::vector<nlohmann::json>& comparisons) {
  const std::string name = purpose_of(settings.version, "");
  if (settings.annotator == recipe::Annotator::judge)
    return verdicts_of_judge(settings.judge, context.maybe("guidelines"), comparisons, context.work, name);
  const steps::fs::path filled = context.at("people");
  if (!steps::fs::exists(filled))
    throw core::Interrupted(
        fmt::format("people are asked: add \"choice\" (\"a\" or \"b\"), \"strength\" (1..4) and for safety rows \"a_safe\" and "
                    "\"b_safe\" to the rows of {}, where several people judge also \"person\", save them as {}, and give the same command "
                    "again",
                    file_for_people(context.at("comparisons")).string(), filled.string()));
  if (core::sha256_file(filled) != settings.people)
    throw core::Interrupted(
        fmt::format("{} came or changed while the run was on its way; the same command reads it as it is now", filled.string()));
  return verdicts_of_people(filled, comparisons, name);
}

// By people or a judge. Comparisons without a verdict are left out and counted.
void annotate_real(const AnnotationSettings& settings, const steps::Context& context, const std::vector<nlohmann::json>& comparisons,
                   std::map<SourceKind, KindFiles>& files) {
  const std::string name = purpose_of(settings.version, "");
  BatchVerdicts batch = real_verdicts(settings, context, comparisons);
  const auto& verdicts = batch.verdicts;
  NewAgainstOld versus(settings, comparisons);
  std::map<std::string, int64_t> counts;
  std::map<std::string, std::pair<int64_t, int64_t>> by_kind;  // with a verdict, comparisons
  for (size_t i = 0; i < comparisons.size(); ++i) {
    auto& [decided, asked] = by_kind[comparisons[i].at("kind").get<std::string>()];
    decided += verdicts[i] ? 1 : 0;
    ++asked;
    ++counts[verdicts[i] ? "annotated" : "without_verdict"];
    if (!verdicts[i]) continue;
    versus.add(i, verdicts[i]->first ? 0 : 1);
    if (kind_of(comparisons[i]) == SourceKind::safety && !(verdicts[i]->first_safe && verdicts[i]->second_safe))
      ++counts["without_safety_label"];
    const core::PreferencePair pair = pair_of(comparisons[i], *verdicts[i], settings.version);
    KindFiles& of_kind = files.at(kind_of(comparisons[i]));
    const std::string opening = comparisons[i].value("opening", data::opening_turn(pair.prompt));
    const bool test = data::opening_held_out(opening, settings.held_out, context.seed);
    (test ? of_kind.test : of_kind.train).write(data::preference_json(pair));
  }
  versus.write(context.work);
  for (const auto& [what, count] : counts)
    batch.counts[what] = count;
  core::write_file(context.work / "counts.json", core::dump_json(batch.counts) + "\n");
  core::log_info(fmt::format("{}: {} of {} comparisons have a verdict", name, counts["annotated"], comparisons.size()));
  for (const auto& [kind, of_kind] : by_kind)
    if (const auto& [decided, asked] = of_kind; 2 * decided < asked)
      core::log_warn(fmt::format("{}: only {} of {} {} comparisons have a verdict; the rest teaches nothing", name, decided, asked, kind));
  if (const auto bare = counts.find("without_safety_label"); bare != counts.end())
    core::log_warn(
        fmt::format("{}: {} safety comparisons do not say of both answers whether they are safe; nothing is learned from them about that",
                    name, bare->second));
  if (counts["annotated"] == 0)
    throw core::DataError(settings.annotator == recipe::Annotator::judge ? steps::fs::path(settings.judge.url) : context.at("people"), 0,
                          fmt::format("gives no verdict on any of {} comparisons: {} (docs/runs.md)", comparisons.size(), batch.advice));
}

// Reads "comparisons", "people" (may be missing, and may not exist yet) and "guidelines" (may be missing). Leaves KIND_train.jsonl and
// KIND_test.jsonl.
void annotate(const AnnotationSettings& settings, const steps::Context& context) {
  const std::vector<nlohmann::json> comparisons = read_comparisons(context);
  std::map<SourceKind, KindFiles> files;
  for (const SourceKind kind : kinds_of(settings.public_pairs))
    files.try_emplace(kind, context.work, core::name_of(kind));
  (settings.sandbox ? annotate_sandbox : annotate_real)(settings, context, comparisons, files);
  for (auto& [kind, of_kind] : files) {
    of_kind.train.commit();
    of_kind.test.commit();
  }
}

}  // namespace

void add_preferences(steps::Plan& plan, const recipe::Version& version) {
  if (version.comparisons.empty()) return;
  const recipe::Recipe& recipe = plan.recipe;
  const recipe::PreferenceConfig& config = recipe.preferences;
  const bool sandbox = recipe::from_sandbox(recipe);
  AnnotationSettings settings{.sandbox = sandbox,
                              .version = version.number,
                              .public_pairs = version.number == 1 && config.public_pairs > 0,
                              .annotator = config.annotator,
                              .judge = config.judge,
                              .people = {},
                              .held_out = sandbox ? config.held_out : recipe.data.held_out,
                              .newest = version.newest,
                              .before = version.before};
  steps::Inputs inputs = {{"comparisons", steps::output_of(version.comparisons)}};
  if (config.annotator == recipe::Annotator::people) {
    const std::string role = steps::people_role(version);
    if (const auto filled = plan.digests.find(role); filled != plan.digests.end()) settings.people = filled->second;
    inputs.push_back({"people", steps::from_outside(role, steps::people_file(recipe, version))});
  }
  const bool judge = config.annotator == recipe::Annotator::judge;
  if (judge && !config.judge.guidelines.empty())
    inputs.push_back({"guidelines", steps::from_outside("preferences.judge.guidelines", config.judge.guidelines)});
  // Judges are asked in both orders since version 2. Of the other annotators nothing has changed.
  plan.add(steps::make_step(version.preferences, settings, std::move(inputs), annotate, judge ? 2 : 1));
}

}  // namespace keel::pipelines::collection
