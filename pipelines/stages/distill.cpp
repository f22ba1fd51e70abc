// Safety context distillation (Llama 2 paper, 4.2.4): rows that teach the newest model, without a safety preprompt, what it answered under
// one.
#include "distillation/distill.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "core/jsonl.h"
#include "core/log.h"
#include "core/rng.h"
#include "data/messages.h"
#include "data/preferences.h"
#include "inference/dialogues.h"
#include "inference/remote_reward.h"
#include "inference/reward_models.h"
#include "pipelines/run/run_directory.h"
#include "pipelines/stages/answer_settings.h"
#include "pipelines/stages/commands.h"
#include "pipelines/stages/graph.h"

namespace keel::pipelines::stages {
namespace {

struct DistillSettings : AnswerSettings {
  distillation::DistillConfig distill;
};

void visit(DistillSettings& settings, core::Fields& fields) {
  visit(settings.distill, fields);
  visit(static_cast<AnswerSettings&>(settings), fields);
}

// The built-in ones where `file` is empty.
std::vector<distillation::Preprompt> preprompts_of(const steps::fs::path& file, const inference::LanguageModel& model,
                                                   const inference::DialogueLimit& limit) {
  if (file.empty()) return distillation::built_in_preprompts();
  std::vector<distillation::Preprompt> all = distillation::read_preprompts(file);
  for (const auto& preprompt : all)
    check_prompt_text(preprompt.text, "text", file, preprompt.line, model, inference::most_tokens(limit, model), limit.allow_tags);
  return all;
}

// Prompts with "hazard": true; helpful ones are left alone. Some of `preprompts` must fit each.
std::vector<distillation::HazardPrompt> read_hazards(const steps::fs::path& file, const inference::LanguageModel& model,
                                                     const inference::DialogueLimit& limit,
                                                     const std::vector<distillation::Preprompt>& preprompts) {
  const std::vector<core::Dialogue> dialogues = inference::read_dialogues(file, model.format, limit);
  std::vector<distillation::HazardPrompt> hazards;
  core::JsonlReader reader(file);
  size_t row_number = 0;
  for (nlohmann::json row; reader.next(row);) {
    const core::Dialogue& dialogue = dialogues.at(row_number++);
    data::with_place(reader.path(), reader.line(), [&] {
      if (!data::parse_label(row, "hazard").value_or(false)) return;
      if (dialogue.messages.back().role != "user") throw std::invalid_argument("a prompt must end with a user turn");
      hazards.push_back({.dialogue = dialogue, .category = data::optional_text(row, "category")});
      distillation::fitting_preprompts(preprompts, hazards.back().category);
    });
  }
  core::log_info(
      fmt::format("{}: {} hazardous prompts; {} others are left alone", file.string(), hazards.size(), dialogues.size() - hazards.size()));
  if (hazards.empty())
    throw core::DataError(file, 0, "holds no prompt with \"hazard\": true; only adversarial prompts are distilled (paper, 4.2.4)");
  return hazards;
}

nlohmann::json distilled_row(const distillation::Distilled& row) {
  return {{"messages", data::messages_json(row.messages)},
          {"hazard", true},
          {"category", row.category},
          {"preprompt", row.preprompt},
          {"score", row.score},
          {"original", row.original},
          {"original_score", row.original_score}};
}

// Reads "model", "safety_reward", "prompts" and "preprompts" (may be missing: the built-in ones). Leaves distilled.jsonl and counts.json.
void distill_answers(const DistillSettings& settings, const steps::Context& context) {
  const inference::LanguageModel model = inference::load_language_model(context.at("model"), settings.chat_format);
  inference::check_reward_kinds({}, context.at("safety_reward"));
  const steps::fs::path safety_reward = context.at("safety_reward");  // a folder's own tokenizer may be another one
  const inference::ScoringModel safety = inference::is_remote(safety_reward)
                                             ? inference::load_scoring_model_for(safety_reward, context.at("model"))
                                             : inference::load_scoring_model(safety_reward);
  const auto preprompts = preprompts_of(context.maybe("preprompts"), model, settings.limit);
  const auto prompts = read_hazards(context.at("prompts"), model, settings.limit, preprompts);
  const uint64_t seed = core::Stream(context.seed, "distill", static_cast<uint64_t>(settings.version)).next();
  policy::Generator generator(model.llama);
  const auto answer = [&](const std::vector<core::Dialogue>& dialogues, const std::string& purpose) {
    std::vector<int64_t> records(dialogues.size());
    for (size_t i = 0; i < records.size(); ++i)
      records[i] = static_cast<int64_t>(i);
    return inference::answer_dialogues(model, generator, dialogues, records,
                                       {.sampling = settings.answers.sampling,
                                        .batch_rows = settings.answers.batch_rows,
                                        .limit = settings.limit,
                                        .seed = seed,
                                        .purpose = purpose,
                                        .label = purpose,
                                        .folder = context.work});
  };
  const auto score = [&](const std::vector<core::Dialogue>& dialogues) { return inference::score_dialogues(safety, dialogues); };
  const auto data = distillation::distill(prompts, preprompts, settings.distill, model.format, seed, answer, score);
  core::log_info(fmt::format("context distillation of {} prompts: {}", prompts.size(), to_line(data.counts)));
  if (data.rows.empty()) {
    run::remove_tree(context.work / "ckpt");  // of no use to the command that follows with other settings
    throw core::DataError(context.at("prompts"), 0, fmt::format("no distilled answer is left ({})", to_line(data.counts)));
  }
  core::write_jsonl(context.work / "distilled.jsonl", data.rows, distilled_row);
  core::write_file(context.work / "counts.json", core::dump_json(to_json(data.counts)) + "\n");
}

steps::Step distill_step(const DistillSettings& settings, const steps::Inputs& inputs) {
  return steps::together(steps::make_step("distill", settings, inputs, distill_answers));
}

}  // namespace

void add_distill(steps::Plan& plan, const recipe::Version& version) {
  if (version.distill.empty()) return;
  const recipe::Recipe& recipe = plan.recipe;
  steps::Inputs inputs = {{"model", steps::model_source(recipe, version.newest)},
                          {"safety_reward", steps::output_of(version.safety)},
                          {"prompts", steps::output_of(version.prompts, "prompts_train.jsonl")}};
  if (const auto preprompts = steps::preprompts(recipe)) inputs.push_back({"preprompts", *preprompts});
  steps::Step step = distill_step(
      {{.answers = recipe.distill.answers, .chat_format = {}, .limit = steps::dialogue_limit(recipe), .version = version.number},
       recipe.distill.data},
      inputs);
  step.name = version.distill;
  plan.add(step);
}

steps::Command distill_command() {
  using Kind = steps::Role::Kind;
  steps::Command command = steps::make_command(
      "distill", "safety context distillation: answers given under a safety preprompt, as rows for keel sft without it",
      "rows {\"messages\"} with both answers' scores",
      {{"model", "model that answers: the newest one", Kind::folder},
       {"safety_reward", "safety reward model folder", Kind::folder},
       {"prompts", R"(rows {"messages"} or {"prompt"}; those with "hazard": true are distilled, "category" chooses their preprompt)"},
       {"preprompts", R"(rows {"text"} with slots {adjective}, "category" where for one kind of prompt; built-in ones when left out)",
        Kind::file, false}},
      steps::with_dialogue_limit({{"--chat", "chat_format"}, {"--version", "version"}}), distill_step);
  command.file = "distilled.jsonl";
  return command;
}

}  // namespace keel::pipelines::stages
