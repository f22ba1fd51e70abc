// Collection of preference data (Llama 2 paper, 3.2.1): two answers to a prompt from two model variants at varied temperatures, then an
// annotator's choice between them. One batch a version, with a test set of its own.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "annotation/annotation.h"
#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "core/jsonl.h"
#include "core/log.h"
#include "core/rng.h"
#include "data/messages.h"
#include "data/preferences.h"
#include "data/prompts.h"
#include "inference/model_folder.h"
#include "pipelines/run/run_directory.h"
#include "pipelines/stages/operations.h"
#include "pipelines/stages/stages.h"
#include "policy/shards.h"
#include "sandbox/annotator.h"
#include "sandbox/answers.h"
#include "sandbox/prompts.h"

namespace keel::pipelines::stages {
namespace {

// Safety pairs are written for hazards; harmless prompts among them keep the model from calling look-alikes unsafe.
constexpr double kHazardShare = 0.7;

// V1 has the plain names, so that a run of one version is not changed by those that may follow.
std::string purpose_of(const recipe::Version& version, const std::string& rest) {
  return fmt::format("preferences{}{}", version.number == 1 ? "" : std::to_string(version.number), rest);
}

struct Answer {
  std::string text, model;
  double temperature = 0;  // 0 = the grammar's, which has none
};

// One comparison: a prompt as its file has it, and two answers.
struct Comparison {
  const nlohmann::json* prompt = nullptr;
  std::string kind;  // "helpfulness" | "safety" | "public"
  std::array<Answer, 2> answers;
};

nlohmann::json comparison_json(const Comparison& comparison, size_t id) {
  nlohmann::json row = *comparison.prompt, answers = nlohmann::json::array();
  for (const auto& answer : comparison.answers)
    answers.push_back({{"text", answer.text}, {"model", answer.model}, {"temperature", answer.temperature}});
  row["id"] = id;
  row["kind"] = comparison.kind;
  row["answers"] = std::move(answers);
  return row;
}

// Answers that one model has to write at one temperature: their prompts, and where each goes.
struct Request {
  std::vector<core::Ids> prompts;
  std::vector<Answer*> answers;
};

using Requests = std::map<std::pair<std::string, double>, Request>;

// What comparisons are drawn from: the prompts of a version, split by what they are about.
struct PromptPool {
  std::vector<nlohmann::json> rows;
  std::vector<core::Ids> ids;
  std::vector<size_t> harmless, hazards;

  PromptPool(const fs::path& file, const inference::LanguageModel& model, const inference::RenderPolicy& limit, int64_t max_new_tokens) {
    inference::Prompts prompts = inference::read_prompt_file(file, model, limit, max_new_tokens);
    for (size_t i = 0; i < prompts.rows.size(); ++i)
      (prompts.hazard[i] ? hazards : harmless).push_back(i);
    for (const auto& [kind, of_kind] : {std::pair{"harmless prompt", &harmless}, {"prompt about safety", &hazards}})
      if (of_kind->empty())
        throw core::DataError(file, 0, fmt::format("holds no {} that leaves room for an answer; both kinds are compared", kind));
    rows = std::move(prompts.rows);
    ids = std::move(prompts.ids);
    for (size_t i = 0; i < rows.size(); ++i) {
      // Whoever compares sees what the models answered; the whole dialogue's opening says whether it is held out.
      nlohmann::json& messages = rows[i].at("messages");
      if (prompts.dialogues[i].messages.size() == messages.size()) continue;
      rows[i]["opening"] = data::opening_turn(data::parse_messages(messages, "messages"));
      messages = data::messages_json(prompts.dialogues[i]);
    }
  }

  size_t draw(const std::string& kind, bool sandbox, core::Stream& stream) const {
    const bool hazard = kind != "helpfulness" && (kind == "safety" && !sandbox ? true : stream.chance(kHazardShare));
    return stream.pick(hazard ? hazards : harmless);
  }
};

std::vector<std::pair<std::string, int64_t>> wanted(const recipe::PreferenceConfig& config, const recipe::Version& version) {
  const int64_t pairs = version.number == 1 ? config.pairs : config.later_pairs;
  std::vector<std::pair<std::string, int64_t>> kinds = {{"helpfulness", pairs}, {"safety", pairs}};
  if (version.number == 1 && config.public_pairs > 0) kinds.emplace_back("public", config.public_pairs);
  return kinds;
}

void answer_all(const Requests& requests, const recipe::Version& version, const recipe::Recipe& recipe, const run::StageContext& context) {
  std::map<std::string, inference::LanguageModel> models;
  for (const auto& [variant, request] : requests) {
    const auto& [name, temperature] = variant;
    auto [model, fresh] = models.try_emplace(name);
    if (fresh) model->second = inference::load_language_model(context.inputs.at(name));
    const std::string who = version.number == 1 ? "" : name + " ";
    const auto samples =
        policy::sample_in_shards(model->second.llama, request.prompts,
                                 {.label = purpose_of(version, fmt::format(" {}T={}", who, temperature)),
                                  .samples = 1,
                                  .sampling = {.temperature = temperature, .max_new_tokens = recipe.preferences.max_new_tokens},
                                  .stop_ids = data::stop_ids(model->second.format, *model->second.tokenizer),
                                  .seed = context.seed},
                                 context.work);
    for (const auto& sample : samples)
      request.answers[static_cast<size_t>(sample.prompt)]->text =
          data::answer_text(model->second.format, *model->second.tokenizer, sample.ids);
  }
}

const sandbox::Annotator& annotator_named(const std::string& name) {
  const auto& all = sandbox::annotators();
  return *std::find_if(all.begin(), all.end(), [&](const auto& annotator) { return annotator.name == name; });
}

// The accuracy that nobody can beat on test pairs, because the annotator's choices are noisy: the mean of what sandbox/annotator.h knows of
// each pair that a reward model is measured on, over all of them and by the strength that was recorded.
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

// Training and test pairs of one kind, and what could be known about the latter.
struct KindFiles {
  core::JsonlWriter train, test;
  KindCeilings ceilings;
  KindFiles(const fs::path& work, const std::string& kind) : train(work / (kind + "_train.jsonl")), test(work / (kind + "_test.jsonl")) {}
};

std::vector<nlohmann::json> read_comparisons(const recipe::Version& version, const run::StageContext& context) {
  std::vector<nlohmann::json> rows;
  core::JsonlReader reader(context.inputs.at(version.comparisons) / "comparisons.jsonl.gz");
  for (nlohmann::json row; reader.next(row);)
    rows.push_back(std::move(row));
  return rows;
}

void annotate_sandbox(const recipe::Recipe& recipe, const recipe::Version& version, const run::StageContext& context,
                      const std::vector<nlohmann::json>& comparisons, std::map<std::string, KindFiles>& files) {
  const sandbox::World world = sandbox::make_world(context.seed);
  for (size_t i = 0; i < comparisons.size(); ++i) {
    const auto prompt = sandbox::prompt_from_json(comparisons[i], version.comparisons, static_cast<int64_t>(i) + 1);
    const std::string first = annotation::answer_text(comparisons[i], 0), second = annotation::answer_text(comparisons[i], 1),
                      kind = comparisons[i].at("kind");
    const bool by_safety = kind == "safety" || (kind == "public" && prompt.hazard);
    const auto judged = by_safety ? sandbox::Kind::safety : sandbox::Kind::helpfulness;
    // Public data is what it is in life: other people's noisy choices, without strengths and labels.
    const sandbox::Annotator& annotator = kind == "public" ? sandbox::stranger() : annotator_named(recipe.preferences.annotator);
    core::Stream stream(context.seed, purpose_of(version, ".annotator"), i);
    auto pair = sandbox::annotate(world, prompt, first, second, judged, annotator, stream);
    pair.batch = std::to_string(version.number);
    const int strength = pair.strength;
    if (kind == "public") {
      pair.source = "sandbox-public";
      pair.strength = 0;
      pair.chosen_safe.reset();
      pair.rejected_safe.reset();
    }
    KindFiles& of_kind = files.at(kind);
    const bool test = data::held_out(prompt.dialogue, recipe.preferences.held_out, context.seed);
    (test ? of_kind.test : of_kind.train).write(data::preference_json(pair));
    const bool drops_unsafe = kind == "safety";
    data::Counts ignored;  // what the reward model's reader drops, it is not measured on
    if (!test || !data::parse_preference(data::preference_json(pair), {.safety = drops_unsafe}, ignored)) continue;
    of_kind.ceilings.add(strength, [&](int given) {
      if (drops_unsafe) return sandbox::kept_bayes_accuracy(world, prompt, first, second, annotator, given);
      return sandbox::bayes_accuracy(sandbox::perceived_gap(world, prompt, first, second, judged, annotator), annotator, given);
    });
  }
  nlohmann::json ceilings;
  for (const auto& [kind, of_kind] : files)
    ceilings[kind] = of_kind.ceilings.to_json();
  core::write_file(context.work / "annotator.json", core::dump_json(ceilings) + "\n");
}

constexpr const char* kForPeople = "for_people.jsonl";

// What people fill in. Comparisons that were made before there was a file for them are shown as they are.
fs::path file_for_people(const fs::path& comparisons) {
  return comparisons / (fs::exists(comparisons / kForPeople) ? kForPeople : "comparisons.jsonl.gz");
}

core::PreferencePair pair_of(const nlohmann::json& comparison, const annotation::Verdict& verdict, const recipe::Version& version) {
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
  pair.batch = std::to_string(version.number);
  return pair;
}

// By people or a judge. What nobody annotated is left out and counted.
void annotate_real(const recipe::Recipe& recipe, const recipe::Version& version, const run::StageContext& context,
                   const std::vector<nlohmann::json>& comparisons, const std::string& people, std::map<std::string, KindFiles>& files) {
  const recipe::PreferenceConfig& config = recipe.preferences;
  std::vector<std::optional<annotation::Verdict>> verdicts;
  if (config.annotator == "judge") {
    verdicts = annotation::ask_judge(config.judge, comparisons, context.work);
  } else {
    const fs::path filled = fs::path(config.people) / (version.preferences + ".jsonl");
    if (!fs::exists(filled))
      throw core::Interrupted(
          fmt::format("people are asked: add \"choice\" (\"a\" or \"b\"), \"strength\" (1..4) and for safety rows \"a_safe\" and "
                      "\"b_safe\" to the rows of {}, save them as {}, and give the same command again",
                      file_for_people(context.inputs.at(version.comparisons)).string(), filled.string()));
    if (core::sha256_file(filled) != people)
      throw core::Interrupted(
          fmt::format("{} came or changed while the run was on its way; the same command reads it as it is now", filled.string()));
    verdicts = annotation::read_verdicts(filled, comparisons);
  }
  std::map<std::string, int64_t> counts;
  std::map<std::string, std::pair<int64_t, int64_t>> by_kind;  // with a verdict, of how many
  for (size_t i = 0; i < comparisons.size(); ++i) {
    auto& [decided, asked] = by_kind[comparisons[i].at("kind").get<std::string>()];
    decided += verdicts[i] ? 1 : 0;
    ++asked;
    ++counts[verdicts[i] ? "annotated" : "without_verdict"];
    if (!verdicts[i]) continue;
    if (comparisons[i].at("kind") == "safety" && !(verdicts[i]->first_safe && verdicts[i]->second_safe)) ++counts["without_safety_label"];
    const core::PreferencePair pair = pair_of(comparisons[i], *verdicts[i], version);
    KindFiles& of_kind = files.at(comparisons[i].at("kind"));
    const std::string opening = comparisons[i].value("opening", data::opening_turn(pair.prompt));
    const bool test = data::opening_held_out(opening, recipe.data.held_out, context.seed);
    (test ? of_kind.test : of_kind.train).write(data::preference_json(pair));
  }
  core::write_file(context.work / "counts.json", core::dump_json(counts) + "\n");
  core::log_info(fmt::format("{}: {} of {} comparisons have a verdict", version.preferences, counts["annotated"], comparisons.size()));
  for (const auto& [kind, of_kind] : by_kind)
    if (const auto& [decided, asked] = of_kind; 2 * decided < asked)
      core::log_warn(fmt::format("{}: only {} of {} {} comparisons have a verdict; the rest teaches nothing", version.preferences, decided,
                                 asked, kind));
  if (const auto bare = counts.find("without_safety_label"); bare != counts.end())
    core::log_warn(
        fmt::format("{}: {} safety comparisons say not of both answers whether they are safe; nothing is learned from them about that",
                    version.preferences, bare->second));
  if (counts["annotated"] == 0) {
    run::remove_tree(context.work / "ckpt");  // what a judge said, all of it useless
    const bool judge = config.annotator == "judge";
    throw core::DataError(judge ? fs::path(config.judge.url) : fs::path(config.people) / (version.preferences + ".jsonl"), 0,
                          fmt::format("gives no verdict on any of {} comparisons: {} (docs/formats.md)", comparisons.size(),
                                      judge ? "a judge replies with a JSON object; the same command asks again"
                                            : "add \"choice\" and \"strength\" to its rows and give the same command again"));
  }
}

}  // namespace

void collect_comparisons(const recipe::Recipe& recipe, const recipe::Version& version, const run::StageContext& context) {
  const recipe::PreferenceConfig& config = recipe.preferences;
  const bool sandbox = recipe.data.source == "sandbox";
  const sandbox::World world = sandbox::make_world(context.seed);
  const PromptPool pool(context.inputs.at(version.prompts) / (sandbox ? "prompts_train.jsonl" : "prompts_comparisons.jsonl"),
                        inference::load_language_model(context.inputs.at(version.newest)), length_limit(recipe), config.max_new_tokens);

  std::vector<Comparison> comparisons;
  for (const auto& [kind, count] : wanted(config, version))
    comparisons.resize(comparisons.size() + static_cast<size_t>(count), {.prompt = nullptr, .kind = kind, .answers = {}});
  Requests requests;
  std::map<std::string, uint64_t> drawn;
  for (auto& comparison : comparisons) {
    core::Stream stream(context.seed, purpose_of(version, "." + comparison.kind), drawn[comparison.kind]++);
    const size_t prompt = pool.draw(comparison.kind, sandbox, stream);
    comparison.prompt = &pool.rows[prompt];
    for (size_t side = 0; side < 2; ++side) {
      Answer& answer = comparison.answers.at(side);
      if (version.number == 1 && stream.chance(config.grammar_share)) {
        const auto info = sandbox::prompt_from_json(*comparison.prompt, version.prompts, 0);
        answer = {.text = sandbox::sample_answer(world, info, stream.pick(sandbox::qualities(info.hazard)), stream), .model = "grammar"};
        continue;
      }
      answer.model = side == 1 && !version.before.empty() ? version.before : version.newest;
      answer.temperature = stream.pick(config.temperatures);
      Request& request = requests[{answer.model, answer.temperature}];
      request.prompts.push_back(pool.ids[prompt]);
      request.answers.push_back(&answer);
    }
  }
  answer_all(requests, version, recipe, context);

  core::JsonlWriter writer(context.work / "comparisons.jsonl.gz");
  // On real data whoever annotates, for the annotator is no part of this stage's key.
  std::optional<core::JsonlWriter> for_people;
  if (!sandbox) for_people.emplace(context.work / kForPeople);
  for (size_t i = 0; i < comparisons.size(); ++i) {
    // The newer model must not always stand first: whoever compares would soon prefer a side.
    core::Stream stream(context.seed, purpose_of(version, ".order"), i);
    if (version.number > 1 && stream.chance(0.5)) std::swap(comparisons[i].answers[0], comparisons[i].answers[1]);
    const nlohmann::json row = comparison_json(comparisons[i], i);
    writer.write(row);
    if (for_people) for_people->write(annotation::blinded(row));
  }
  writer.commit();
  if (for_people) for_people->commit();
}

void annotate_comparisons(const recipe::Recipe& recipe, const recipe::Version& version, const std::string& people,
                          const run::StageContext& context) {
  const std::vector<nlohmann::json> comparisons = read_comparisons(version, context);
  std::map<std::string, KindFiles> files;
  for (const auto& [kind, count] : wanted(recipe.preferences, version))
    files.try_emplace(kind, context.work, kind);
  if (recipe.data.source == "sandbox")
    annotate_sandbox(recipe, version, context, comparisons, files);
  else
    annotate_real(recipe, version, context, comparisons, people, files);
  for (auto& [kind, of_kind] : files) {
    of_kind.train.commit();
    of_kind.test.commit();
  }
}

}  // namespace keel::pipelines::stages
