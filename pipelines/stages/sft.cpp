// Supervised fine-tuning on demonstrations (Llama 2 paper, 3.1): the chat model that reward models and V1 start from.
#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "core/files.h"
#include "core/log.h"
#include "data/demonstrations.h"
#include "inference/model_folder.h"
#include "pipelines/stages/commands.h"
#include "pipelines/stages/graph.h"

namespace keel::pipelines::stages {
namespace {

struct SftSettings {
  policy::SftConfig sft;
  std::string chat_format;
  inference::RenderPolicy limit;
};

void visit(SftSettings& settings, core::Fields& fields) {
  visit(settings.sft, fields);
  fields("chat_format", settings.chat_format, "chat format; empty = the model folder's own");
  fields.section("limit", settings.limit, "dialogues that do not fit, and tags in messages");
}

std::vector<core::TokenSequence> render_file(const steps::fs::path& file, const inference::LanguageModel& model,
                                             const data::RenderLimits& limits, nlohmann::json& counts) {
  const data::DemonstrationSet set = data::read_demonstrations(file);
  data::RenderedDemonstrations rendered = data::render_demonstrations(set, model.format, *model.tokenizer, limits);
  core::log_info(fmt::format("{}: {}; rendered: {}", file.string(), to_line(set.counts), to_line(rendered.counts)));
  counts[file.filename().string()] = {{"read", to_json(set.counts)}, {"rendered", to_json(rendered.counts)}};
  if (rendered.sequences.empty())
    throw core::DataError(
        file, 0, fmt::format("leaves nothing to train on ({}): where it is too long, raise the limit of tokens", to_line(rendered.counts)));
  return std::move(rendered.sequences);
}

// Reads "model", "data" and "validation" (may be missing). Leaves a model folder.
void fine_tune(const SftSettings& settings, const steps::Context& context) {
  const inference::LanguageModel model =
      inference::load_language_model(context.at("model"), settings.chat_format, inference::weights_for(settings.sft.lora));
  const auto limits =
      inference::limits_within(settings.limit, std::min(model.llama.config.max_position_embeddings, settings.sft.batch.row_tokens));
  nlohmann::json counts;
  const auto train = render_file(context.at("data"), model, limits, counts);
  const auto held_out = context.maybe("validation");
  const auto validation = held_out.empty() ? std::vector<core::TokenSequence>{} : render_file(held_out, model, limits, counts);
  const policy::Llama trained = policy::sft_start(model.llama, settings.sft, context.seed);
  const auto result = policy::train_sft(trained, train, validation, settings.sft, context.seed, context.work);
  core::write_file(context.work / "counts.json", core::dump_json(counts) + "\n");
  const nlohmann::json lineage = {{"stage", "sft"}, {"seed", context.seed}, {"best_step", result.best_step}};
  inference::save_adapter(context.work / "adapter", trained, settings.sft.lora, model.format, lineage, settings.limit);
  inference::save_language_model(context.work, trained, context.at("model"), model.format, lineage, settings.limit);
}

steps::Step sft_step(const SftSettings& settings, const steps::Inputs& inputs) {
  core::throw_if_any(policy::problems_of(settings.sft));
  if (!steps::has_role(inputs, "validation")) core::throw_if_any(policy::problems_without_held_out(settings.sft.batch));
  return steps::together(steps::make_step("sft", settings, inputs, fine_tune, 2));
}

}  // namespace

void add_sft(steps::Plan& plan) {
  if (!plan.recipe.sft.enabled) return;
  plan.add(sft_step({.sft = plan.recipe.sft, .chat_format = {}, .limit = steps::length_limit(plan.recipe)},
                    {{"data", steps::output_of("data", "demonstrations.jsonl")},
                     {"validation", steps::output_of("data", "demonstrations_validation.jsonl")},
                     {"model", steps::start_model(plan.recipe)}}));
}

steps::Command sft_command() {
  using Kind = steps::Role::Kind;
  return steps::make_command("sft", "supervised fine-tuning on demonstrations, loss on the answers alone", "model folder to write",
                             {{"model", "model folder to start from", Kind::folder},
                              {"data", R"(rows {"messages"}, {"prompt","completion"} or {"text"} (.jsonl, .gz, .zst, .parquet))"},
                              {"validation", "held-out rows: the best weights on them are kept", Kind::file, false}},
                             steps::with_limit({{"--chat", "chat_format"}}), sft_step);
}

}  // namespace keel::pipelines::stages
