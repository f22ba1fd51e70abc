// How long models keep an instruction of the first turn (Llama 2 paper, table 30), and how much the last answer attends to it (figure 10).
#include <ATen/core/Tensor.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "annotation/obedience_judge.h"
#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "core/jsonl.h"
#include "core/log.h"
#include "data/messages.h"
#include "evaluation/report.h"
#include "evaluation/statistics/interval.h"
#include "evaluation/statistics/json.h"
#include "gatt/retention.h"
#include "inference/dialogues.h"
#include "pipelines/measurement/commands.h"
#include "pipelines/measurement/obedience.h"
#include "pipelines/report/gatt_section.h"
#include "pipelines/steps/plan.h"
#include "policy/attention_weights.h"

namespace keel::pipelines::measurement {
namespace {

struct RetentionSettings {
  gatt::RetentionConfig retention;
  recipe::AnswerConfig answers;
  std::string chat_format;
  inference::DialogueLimit limit;
  annotation::JudgeServer judge;    // asked where its model is named
  std::vector<std::string> models;  // of a run; a command's models are named by their folders
};

void visit(RetentionSettings& settings, core::Fields& fields) {
  visit(settings.retention, fields);
  visit(settings.answers, fields);
  fields("chat_format", settings.chat_format, "chat format; empty = each model folder's own");
  fields.section("limit", settings.limit, "dialogues that do not fit, and tags in messages");
  fields.section("judge", settings.judge, "a language model that tells whether an instruction is obeyed which no program can check");
  fields("models", settings.models, "names of the models in a run; empty = their folders");
}

// By a program where one can tell, else by the judge, whose replies are kept in `folder`; `requests` counts those to it for all models.
std::vector<std::optional<bool>> obeys(const std::vector<gatt::Obedience>& asked, const annotation::JudgeServer& judge,
                                       const steps::fs::path& folder, const steps::fs::path& requests) {
  std::vector<std::optional<bool>> verdicts;
  std::vector<annotation::InstructedAnswer> to_judge;
  std::vector<size_t> places;
  for (const auto& one : asked) {
    verdicts.push_back(obeys_by_program(one.instruction, one.answer));
    if (checked_by_program(one.instruction)) continue;
    places.push_back(verdicts.size() - 1);
    to_judge.push_back({.instruction = one.instruction.text, .question = one.question, .answer = one.answer});
  }
  if (to_judge.empty()) return verdicts;
  const auto judged = annotation::judge_obedience(judge, to_judge, folder, requests);
  for (size_t i = 0; i < places.size(); ++i)
    verdicts[places[i]] = judged[i];
  if (const auto unknown = std::ranges::count_if(judged, [](const auto& one) { return !one; }); unknown > 0)
    core::log_warn(fmt::format("{} of {} answers got no verdict of the judge and do not count", unknown, judged.size()));
  return verdicts;
}

std::vector<gatt::Instruction> checked_instructions(const steps::fs::path& file, bool judge) {
  std::vector<gatt::Instruction> all = gatt::read_instructions(file);
  for (const auto& one : all)
    if (!judge && !checked_by_program(one))
      throw core::DataError(
          file, one.line,
          "nothing can tell whether an answer obeys; give \"pattern\", a regular expression that such an answer matches, or "
          "\"kind\": \"language\" with the language's English name as \"value\", or name a judge (judge.model)");
  return all;
}

// The tokens of the instruction in the trial's prompt, [first, second): what differs from the same prompt with another instruction, from
// the front and from the back.
std::pair<int64_t, int64_t> instruction_span(const inference::LanguageModel& model, const gatt::Trial& trial,
                                             const std::vector<std::string>& answers, const gatt::RetentionConfig& config) {
  gatt::Trial other = trial;
  other.instructions = {{.text = trial.instructions[0].text.starts_with('#') ? "+" : "#"}};
  const auto ids_of = [&](const gatt::Trial& one) {
    return data::render(model.format, *model.tokenizer, gatt::trial_prompt(one, answers, config), data::TagPolicy::allow).ids;
  };
  const core::Ids ids = ids_of(trial), others = ids_of(other);
  const auto front = std::mismatch(ids.begin(), ids.end(), others.begin(), others.end()).first - ids.begin();
  const auto back = std::mismatch(ids.rbegin(), ids.rend(), others.rbegin(), others.rend()).first - ids.rbegin();
  return {front, std::ssize(ids) - back};
}

// The share of attention that each token of the trial's last answer gives to the instruction, by layer, and the text of the tokens that
// count as the instruction. No layers where the dialogue does not fit the context.
struct Attention {
  std::string attended;
  std::vector<std::vector<double>> layers;
};

Attention attention_on_instruction(const inference::LanguageModel& model, const gatt::Trial& trial, const std::vector<std::string>& answers,
                                   const RetentionSettings& settings) {
  const std::vector<std::string> before(answers.begin(), answers.end() - 1);
  core::Dialogue dialogue = gatt::trial_prompt(trial, before, settings.retention);
  const auto [begin, end] = instruction_span(model, trial, before, settings.retention);
  const auto from = std::ssize(data::render(model.format, *model.tokenizer, dialogue, data::TagPolicy::allow).ids);
  dialogue.messages.push_back({"assistant", answers.back()});
  const core::Ids ids = data::render(model.format, *model.tokenizer, dialogue, data::TagPolicy::allow).ids;
  Attention attention{.attended = model.tokenizer->decode({ids.begin() + begin, ids.begin() + end}), .layers = {}};
  if (std::ssize(ids) > model.llama.config.max_position_embeddings) return attention;
  for (const at::Tensor& weights : policy::attention_weights(model.llama, ids, from - 1)) {  // of the tokens that predict the answer's
    const at::Tensor on_instruction = weights.narrow(1, begin, end - begin).sum(1).to(at::kDouble).contiguous();
    const double* values = on_instruction.const_data_ptr<double>();
    attention.layers.emplace_back(values, values + on_instruction.size(0) - 1);
  }
  return attention;
}

// The models by name: "model:NAME" in a run, else "model".
std::vector<std::pair<std::string, steps::fs::path>> models_of(const RetentionSettings& settings, const steps::Context& context) {
  std::vector<std::pair<std::string, steps::fs::path>> models;
  for (const auto& name : settings.models)
    models.emplace_back(name, context.at("model:" + name));
  if (models.empty())
    for (const auto& path : context.all("model"))
      models.emplace_back(path.string(), path);
  return models;
}

// The model's answers, by trial. `number` keeps the shards of several models apart.
std::vector<std::vector<std::string>> hold_trials(const inference::LanguageModel& model, size_t number,
                                                  const std::vector<gatt::Trial>& trials, const RetentionSettings& settings,
                                                  const steps::Context& context) {
  inference::AnswerJob job{.sampling = settings.answers.sampling,
                           .batch_rows = settings.answers.batch_rows,
                           .limit = settings.limit,
                           .seed = context.seed,
                           .folder = context.work};
  policy::Generator generator(model.llama, policy::kDialogueBytes);
  return gatt::hold_trials(trials, settings.retention,
                           [&](const std::vector<core::Dialogue>& prompts, const std::vector<int64_t>& records, int64_t turn) {
                             job.purpose = fmt::format("gatt evaluation turn {}", turn);  // the same draws for every model
                             job.label = fmt::format("gatt evaluation {} turn {}", number, turn);
                             return inference::answer_dialogues(model, generator, prompts, records, job);
                           });
}

void warn_of_early_ends(const std::string& name, const std::vector<std::vector<std::string>>& said, int64_t last) {
  const auto early = std::ranges::count_if(said, [&](const auto& answers) { return std::ssize(answers) < last; });
  if (early > 0)
    core::log_warn(fmt::format("{}: {} of {} dialogues ended before turn {}, where the next prompt no longer fitted the context", name,
                               early, said.size(), last));
}

void warn_of_missing_groups(const std::vector<gatt::Trial>& trials, const steps::fs::path& instructions) {
  for (const char* group : {"trained", "unseen", "combined", "changed"})
    if (std::ranges::none_of(trials, [&](const gatt::Trial& trial) { return trial.group == group; }))
      core::log_warn(
          fmt::format("no dialogue of the group \"{}\": {} has no instructions for it, or change_at lies behind the last of turns", group,
                      instructions.string()));
}

// Attention of the model's last answer in the first "trained" trial; null where there is none.
nlohmann::json attention_json(const inference::LanguageModel& model, const std::string& name, const std::vector<gatt::Trial>& trials,
                              const std::vector<std::vector<std::string>>& said, const RetentionSettings& settings) {
  const auto first = std::ranges::find(trials, "trained", &gatt::Trial::group);
  if (first == trials.end() || said[static_cast<size_t>(first - trials.begin())].empty()) return {};
  const auto& answers = said[static_cast<size_t>(first - trials.begin())];
  const Attention measured = attention_on_instruction(model, *first, answers, settings);
  return {{"model", name},
          {"instruction", gatt::combined(first->instructions).text},
          {"attended", measured.attended},
          {"turn", answers.size()},
          {"answer", answers.back()},
          {"layers", measured.layers}};
}

// Reads the models, "dialogues" and "instructions". Leaves retention.jsonl, evaluation.json (the same shares,
// for measures of sweeps), answers.jsonl, attention.json and report.html.
void measure_retention(const RetentionSettings& settings, const steps::Context& context) {
  const auto models = models_of(settings, context);
  const auto instructions = checked_instructions(context.at("instructions"), !settings.judge.model.empty());
  const int64_t last = *std::max_element(settings.retention.turns.begin(), settings.retention.turns.end());
  std::vector<gatt::Trial> trials;
  core::JsonlWriter rows(context.work / "answers.jsonl"), kept(context.work / "retention.jsonl");
  nlohmann::json attention = nlohmann::json::array(), by_name = nlohmann::json::object();
  for (size_t number = 0; number < models.size(); ++number) {
    const auto& [name, path] = models[number];
    const inference::LanguageModel model = inference::load_language_model(path, settings.chat_format);
    if (trials.empty())
      trials = data::with_place(context.at("dialogues").string(), 0, [&] {
        return gatt::plan_trials(inference::read_dialogues(context.at("dialogues"), model.format, settings.limit), instructions,
                                 settings.retention, context.seed);
      });
    const auto said = hold_trials(model, number, trials, settings, context);
    warn_of_early_ends(name, said, last);
    const auto looked_at = gatt::look_at(trials, said, settings.retention, [&](const std::vector<gatt::Obedience>& asked) {
      return obeys(asked, settings.judge, context.work / "ckpt" / fmt::format("model {}", number), context.work / "ckpt" / "requests");
    });
    for (const auto& one : looked_at)
      rows.write({{"model", name},
                  {"group", trials[one.trial].group},
                  {"dialogue", trials[one.trial].record},
                  {"instruction", gatt::combined(gatt::in_force(trials[one.trial], one.turn, settings.retention)).text},
                  {"turn", one.turn},
                  {"text", one.text},
                  {"kept", one.kept ? nlohmann::json(*one.kept) : nlohmann::json()}});
    for (const auto& count : gatt::kept_by_turn(trials, looked_at)) {
      const nlohmann::json share = to_json(evaluation::statistics::wilson(count.kept, count.trials));
      kept.write({{"model", name}, {"group", count.group}, {"turn", count.turn}, {"kept", share}, {"trials", count.trials}});
      by_name[name][count.group][std::to_string(count.turn)] = share;
    }
    if (auto measured = attention_json(model, name, trials, said, settings); !measured.is_null()) attention.push_back(std::move(measured));
  }
  warn_of_missing_groups(trials, context.at("instructions"));
  rows.commit();
  kept.commit();
  core::write_file(context.work / "evaluation.json", core::dump_json({{"kept", by_name}}) + "\n");
  core::write_file(context.work / "attention.json", core::dump_json(attention) + "\n");
  evaluation::Report page{.title = "keel eval gatt",
                          .subtitle = "How long models keep an instruction of the first turn",
                          .facts = {{"seed", fmt::format("{}", context.seed)}},
                          .models = {},
                          .summary = {},
                          .sections = {report::gatt_section(context.work)}};
  for (const auto& [name, path] : models)
    page.models.push_back(name);
  core::write_file(context.work / "report.html", evaluation::render_html(page));
}

// A problem for each model of a command that an earlier --model names already: their rows could not be told apart.
std::vector<std::string> repeated_models(const steps::Inputs& inputs) {
  std::vector<std::string> problems;
  std::map<steps::fs::path, steps::fs::path> seen;  // by the folder that it leads to
  for (const auto& input : inputs) {
    if (input.role != "model") continue;
    const auto [first, is_new] = seen.emplace(steps::fs::weakly_canonical(input.source.path), input.source.path);
    if (!is_new)
      problems.push_back(
          fmt::format("--model {} is --model {} once more; leave one out", input.source.path.string(), first->second.string()));
  }
  return problems;
}

steps::Step retention_step(const RetentionSettings& settings, const steps::Inputs& inputs) {
  std::vector<std::string> problems = repeated_models(inputs);
  if (settings.retention.turns.empty()) problems.emplace_back("turns must name at least one turn");
  core::add_problems(problems, "judge.", annotation::problems_of(settings.judge));
  core::throw_if_any(std::move(problems));
  for (const auto& name : settings.models)
    if (!steps::has_role(inputs, "model:" + name)) throw core::ConfigError({"models: only a run names its models; give --model"});
  const steps::Step step = steps::make_step("gatt_evaluation", settings, inputs, measure_retention);
  return settings.judge.model.empty() ? steps::together(step) : step;
}

}  // namespace

void add_gatt_evaluation(steps::Plan& plan) {
  const recipe::Recipe& recipe = plan.recipe;
  if (!recipe::has_gatt(recipe)) return;
  RetentionSettings settings{.retention = recipe.gatt.retention,
                             .answers = recipe.gatt.answers,
                             .chat_format = {},
                             .limit = steps::dialogue_limit(recipe),
                             .judge = recipe.gatt.judge,
                             .models = {}};
  steps::Inputs inputs = {{"dialogues", steps::gatt_test_dialogues(recipe)}, {"instructions", steps::gatt_instructions(recipe)}};
  for (const auto& [name, stage] : recipe::run_models(recipe)) {
    if (name == "base") continue;
    settings.models.push_back(name);
    inputs.push_back({"model:" + name, steps::output_of(stage)});
  }
  plan.add(retention_step(settings, inputs));
}

steps::Command gatt_evaluation_command() {
  using Kind = steps::Role::Kind;
  return steps::make_command(
      "eval gatt", "how long models keep an instruction of the first turn, and their attention on it",
      "folder to write: retention.jsonl, evaluation.json, answers.jsonl, attention.json, report.html",
      {{"model", "model folder; repeats, e.g. without and with Ghost Attention", Kind::folder, true, true},
       {"dialogues", R"(rows {"messages"} with at least as many user turns as the last of `turns` (.jsonl, .gz, .zst, .parquet))"},
       {"instructions", R"(rows {"text"} or {"kind", "value"}; "unseen": true for those that training left out)"}},
      steps::with_dialogue_limit({{"--chat", "chat_format"}, {"--judge-url", "judge.url"}, {"--judge-model", "judge.model"}}),
      retention_step);
}

}  // namespace keel::pipelines::measurement
