// The base model: pretrained from random weights in the sandbox, on real data a checkpoint, which this stage only gives another chat format
// where the recipe names one.
#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "core/files.h"
#include "core/log.h"
#include "data/tokenizer_export.h"
#include "inference/model_folder.h"
#include "pipelines/stages/commands.h"
#include "pipelines/stages/corpus.h"
#include "pipelines/stages/graph.h"
#include "runtime/device.h"

namespace keel::pipelines::stages {
namespace {

struct PretrainSettings {
  policy::LlamaConfig llama;
  policy::PretrainConfig pretrain;
  std::string chat_format = "llama2";
};

void visit(PretrainSettings& settings, core::Fields& fields) {
  fields.section("llama", settings.llama, "shape of the model");
  fields.section("pretrain", settings.pretrain, "training");
  fields("chat_format", settings.chat_format, "chat format of {\"messages\"} rows", core::one_of(data::chat_format_names()));
}

// Reads "data", "validation" (may be missing) and "tokenizer" (what load_tokenizer takes). Leaves a model folder.
void pretrain(const PretrainSettings& settings, const steps::Context& context) {
  const policy::PretrainConfig& config = settings.pretrain;
  policy::LlamaConfig shape = settings.llama;
  const auto tokenizer = data::load_tokenizer(context.at("tokenizer"));
  const auto format = data::parse_chat_format(settings.chat_format);
  if (shape.vocab_size != policy::LlamaConfig{}.vocab_size && shape.vocab_size != tokenizer->vocab_size())
    throw core::ConfigError(
        {fmt::format("llama.vocab_size is the tokenizer's, {}; leave it out (got {})", tokenizer->vocab_size(), shape.vocab_size)});
  shape.vocab_size = tokenizer->vocab_size();
  const int64_t row_tokens = std::min(config.batch.row_tokens, shape.max_position_embeddings);
  nlohmann::json counts;
  const Corpus corpus = read_corpus(context.at("data"), format, *tokenizer, row_tokens, data::TagPolicy::refuse, counts);
  const auto held_out = context.maybe("validation");
  const Corpus validation =
      held_out.empty() ? Corpus{} : read_corpus(held_out, format, *tokenizer, row_tokens, data::TagPolicy::refuse, counts);
  std::vector<policy::Source> sources;
  for (const auto& [name, source] : corpus.sources)
    sources.push_back(source);
  policy::weigh_sources(sources, corpus.sequences, config.upsample);

  const policy::Llama model = policy::moved(policy::make_llama(shape, context.seed), runtime::compute_device());
  core::log_info(fmt::format("pretraining {} parameters on {} documents", runtime::count_elements(policy::parameters(model)),
                             corpus.sequences.size()));
  const auto result = policy::train_pretrain(model, corpus.sequences, sources, validation.sequences, config, context.seed, context.work);
  core::write_file(context.work / "counts.json", core::dump_json(counts) + "\n");
  data::write_tokenizer(context.at("tokenizer"), context.work);
  inference::save_language_model(context.work, model, context.work, format,
                                 {{"stage", "pretrain"}, {"seed", context.seed}, {"best_step", result.best_step}});
}

steps::Step base_step(const PretrainSettings& settings, const steps::Inputs& given) {
  std::vector<std::string> problems;
  core::add_problems(problems, "pretrain.", policy::problems_of(settings.pretrain));
  if (!steps::has_role(given, "validation"))
    core::add_problems(problems, "pretrain.", policy::problems_without_held_out(settings.pretrain.batch));
  core::throw_if_any(std::move(problems));
  steps::Inputs inputs = given;
  for (const auto& [role, source] : given)  // files beside the tokenizer, if it is a file
    if (role == "tokenizer" && source.stage.empty() && !steps::fs::is_directory(source.path))
      for (const std::string& name : data::tokenizer_companions())
        if (const auto beside = source.path.parent_path() / name; steps::fs::is_regular_file(beside))
          inputs.push_back({name, steps::from_outside(name, beside)});
  return steps::together(steps::make_step("base", settings, std::move(inputs), pretrain));
}

struct FormatSettings {
  data::ChatFormat chat;
};

void visit(FormatSettings& settings, core::Fields& fields) {
  fields.section("chat", settings.chat, "chat format to record");
}

// Reads "model". Leaves a model folder.
void record_format(const FormatSettings& settings, const steps::Context& context) {
  const inference::LanguageModel model = inference::load_language_model(context.at("model"));
  data::check_renderable(settings.chat, *model.tokenizer);
  inference::save_language_model(context.work, model.llama, context.at("model"), settings.chat, {{"stage", "base"}, {"seed", context.seed}},
                                 model.limit);
}

}  // namespace

void add_base(steps::Plan& plan) {
  const recipe::Recipe& recipe = plan.recipe;
  if (!recipe::from_sandbox(recipe)) {
    if (!recipe.chat_format.empty())
      plan.add(steps::make_step("base", FormatSettings{data::parse_chat_format(recipe.chat_format)},
                                {{"model", steps::from_outside("model", recipe.model)}}, record_format));
    return;
  }
  plan.add(base_step(
      {.llama = recipe.llama, .pretrain = recipe.pretrain, .chat_format = recipe.chat_format.empty() ? "llama2" : recipe.chat_format},
      {{"data", steps::output_of("corpus", "corpus.jsonl")},
       {"validation", steps::output_of("corpus", "corpus_validation.jsonl")},
       {"tokenizer", steps::output_of("corpus")}}));
}

steps::Command pretrain_command() {
  using Kind = steps::Role::Kind;
  return steps::make_command("pretrain", "a language model from nothing", "model folder to write",
                             {{"data", R"(rows {"text"} or {"messages"}, with an optional "source" (.jsonl, .gz, .zst, .parquet))"},
                              {"validation", "held-out rows: the best weights on them are kept", Kind::file, false},
                              {"tokenizer", "a .model, tokenizer.json, .gguf or folder that holds one", Kind::path}},
                             {{"--chat", "chat_format"}}, base_step);
}

}  // namespace keel::pipelines::stages
