// Ghost Attention (Llama 2 paper, 3.3): the newest model answers dialogues whose every user turn carries an instruction; fine-tuning reads
// the instruction in the first turn alone.
#include "gatt/dialogues.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "core/jsonl.h"
#include "core/log.h"
#include "core/rng.h"
#include "data/messages.h"
#include "inference/dialogues.h"
#include "pipelines/measurement/obedience.h"
#include "pipelines/run/run_directory.h"
#include "pipelines/stages/answer_settings.h"
#include "pipelines/stages/commands.h"
#include "pipelines/stages/graph.h"

namespace keel::pipelines::stages {
namespace {

struct GattSettings : AnswerSettings {
  gatt::GattConfig gatt;
  recipe::ListedValues listed;
};

void visit(GattSettings& settings, core::Fields& fields) {
  visit(settings.gatt, fields);
  visit(static_cast<AnswerSettings&>(settings), fields);
  fields.section("listed", settings.listed, "instructions from values that the model lists");
}

std::vector<gatt::Instruction> instructions_of(const steps::fs::path& file, const inference::LanguageModel& model, int64_t most) {
  if (file.empty()) return {};
  std::vector<gatt::Instruction> all = gatt::read_instructions(file);
  for (const auto& instruction : all)
    for (const auto& [field, text] : {std::pair{"text", instruction.text}, {"short", instruction.brief}})
      check_prompt_text(text, field, file, instruction.line, model, most, false);  // they stand in training rows
  const auto unseen = std::erase_if(all, [](const auto& instruction) { return instruction.unseen; });
  core::log_info(fmt::format("{}: {} instructions; {} more are marked as unseen and left out", file.string(), all.size(), unseen));
  if (all.empty()) throw core::DataError(file, 0, "marks all instructions as unseen: none is left to learn");
  return all;
}

// Asks the model for values of each kind; the log shows what it was asked and what it named.
std::vector<gatt::Instruction> listed_instructions(const recipe::ListedValues& listed, const inference::LanguageModel& model,
                                                   policy::Generator& generator, inference::AnswerJob job) {
  std::vector<gatt::Instruction> all;
  constexpr int64_t kTokensOfAName = 12;
  job.purpose = "gatt listing";
  job.sampling.max_new_tokens = std::max(job.sampling.max_new_tokens, kTokensOfAName * listed.count);
  for (size_t i = 0; i < listed.kinds.size(); ++i) {
    const std::string& kind = listed.kinds[i];
    const std::string prompt = gatt::listing_prompt(kind, listed.count);
    job.label = "gatt listing " + kind;
    const auto answer = inference::answer_dialogues(model, generator, {{{{"user", prompt}}}}, {static_cast<int64_t>(i)}, job).front();
    auto [values, dropped] = gatt::listed_values(answer ? answer->text : "");
    if (answer && !answer->finished && !values.empty()) values.pop_back();  // the last one may be cut
    core::log_info(fmt::format("asked \"{}\", the model named: {}", prompt, fmt::join(values, "; ")));
    if (values.empty())
      throw core::UsageError(
          fmt::format("the model named no value of kind \"{}\" ({} sentences were dropped); give them in --instructions", kind, dropped));
    if (std::ssize(values) < listed.count)
      core::log_warn(fmt::format("the model named {} values of kind \"{}\", {} were asked for; {} sentences were dropped", values.size(),
                                 kind, listed.count, dropped));
    for (const auto& value : values)
      all.push_back(gatt::instruction_of(kind, value));
  }
  return all;
}

nlohmann::json gatt_row(const gatt::GattDialogue& dialogue) {
  return {{"messages", data::messages_json(dialogue.messages)},
          {"instruction", dialogue.instruction},
          {"shortened", dialogue.shortened},
          {"dialogue", dialogue.record}};
}

// Reads "model", "dialogues" and "instructions" (may be missing where the model lists some). Leaves gatt.jsonl and counts.json.
void make_gatt_rows(const GattSettings& settings, const steps::Context& context) {
  const inference::LanguageModel model = inference::load_language_model(context.at("model"), settings.chat_format);
  const int64_t most = inference::most_tokens(settings.limit, model);
  const auto dialogues = inference::read_dialogues(context.at("dialogues"), model.format, settings.limit);
  const uint64_t seed = core::Stream(context.seed, "gatt", static_cast<uint64_t>(settings.version)).next();
  inference::AnswerJob job{.sampling = settings.answers.sampling,
                           .batch_rows = settings.answers.batch_rows,
                           .limit = settings.limit,
                           .seed = seed,
                           .folder = context.work};
  policy::Generator generator(model.llama, policy::kDialogueBytes);
  std::vector<gatt::Instruction> instructions = instructions_of(context.maybe("instructions"), model, most);
  for (auto& instruction : listed_instructions(settings.listed, model, generator, job))
    instructions.push_back(std::move(instruction));
  const auto answer = [&](const std::vector<core::Dialogue>& prompts, const std::vector<int64_t>& records, int64_t turn) {
    job.purpose = job.label = fmt::format("gatt turn {}", turn);
    return inference::answer_dialogues(model, generator, prompts, records, job);
  };
  const gatt::GattData data =
      gatt::make_dialogues(dialogues, instructions, settings.gatt, model.format, seed, answer, measurement::obeys_by_program);
  core::log_info(fmt::format("{}: {}", context.at("dialogues").string(), to_line(data.counts)));
  if (data.dialogues.empty()) {
    run::remove_tree(context.work / "ckpt");  // of no use to the command that follows with other settings
    throw core::DataError(context.at("dialogues"), 0,
                          fmt::format("no dialogue is left ({}): where answers do not end, raise sampling.max_new_tokens or set "
                                      "finished_only to false",
                                      to_line(data.counts)));
  }
  core::write_jsonl(context.work / "gatt.jsonl", data.dialogues, gatt_row);
  core::write_file(context.work / "counts.json", core::dump_json(to_json(data.counts)) + "\n");
}

steps::Step gatt_step(const GattSettings& settings, const steps::Inputs& inputs) {
  std::vector<std::string> problems;
  if (!steps::has_role(inputs, "instructions") && settings.listed.kinds.empty())
    problems.emplace_back("give --instructions, or name in listed.kinds what the model should list");
  if (settings.listed.kinds.empty() && settings.listed.count != recipe::ListedValues().count)
    problems.emplace_back("listed.count: nothing reads it without listed.kinds");
  core::throw_if_any(std::move(problems));
  return steps::together(steps::make_step("gatt", settings, inputs, make_gatt_rows));
}

}  // namespace

void add_gatt(steps::Plan& plan, const recipe::Version& version) {
  if (version.gatt.empty()) return;
  const recipe::Recipe& recipe = plan.recipe;
  steps::Step step =
      gatt_step({{.answers = recipe.gatt.answers, .chat_format = {}, .limit = steps::dialogue_limit(recipe), .version = version.number},
                 recipe.gatt.data,
                 recipe.gatt.listed},
                {{"model", steps::model_source(recipe, version.newest)},
                 {"dialogues", steps::gatt_dialogues(recipe)},
                 {"instructions", steps::gatt_instructions(recipe)}});
  step.name = version.gatt;
  plan.add(step);
}

steps::Command gatt_command() {
  using Kind = steps::Role::Kind;
  steps::Command command = steps::make_command(
      "gatt", "Ghost Attention: dialogues in which an instruction of the first turn holds to the end, as rows for keel sft",
      "rows {\"messages\"} whose last answer alone is learned (\"weight\")",
      {{"model", "model that answers: the newest one", Kind::folder},
       {"dialogues", R"(rows {"messages"} whose answers are sampled anew (.jsonl, .gz, .zst, .parquet))"},
       {"instructions", R"(rows {"text"} or {"kind", "value"}: what the answers must obey)", Kind::file, false}},
      steps::with_dialogue_limit({{"--chat", "chat_format"}, {"--version", "version"}}), gatt_step);
  command.file = "gatt.jsonl";
  return command;
}

}  // namespace keel::pipelines::stages
