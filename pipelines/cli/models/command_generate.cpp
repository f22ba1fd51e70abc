// keel generate: answers to prompts.
#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/jsonl.h"
#include "core/log.h"
#include "core/progress.h"
#include "inference/records.h"
#include "pipelines/cli/common/options.h"
#include "pipelines/cli/models/commands.h"
#include "policy/generate.h"

namespace keel::pipelines::cli::models {
namespace {

// The fields of --config and --set.
struct GenerateConfig {
  policy::SamplingConfig sampling;
  int64_t batch_rows = 64;
};

void visit(GenerateConfig& config, core::Fields& fields) {
  visit(config.sampling, fields);
  fields("batch_rows", config.batch_rows, "most answers decoded together", core::at_least(1));
}

struct GenerateOptions {
  std::string model, prompts, out, chat;
  int64_t samples = 1;
  bool no_bos = false;
  inference::RenderPolicy limit;
  GenerateConfig config;
  std::vector<std::string> settings;  // fields given by their own option: they win over --config and --set
};

void generate_rows(const GenerateOptions& options, const CLI::App& command, uint64_t seed) {
  common::check_output(options.out, {options.prompts});
  core::JsonlWriter writer(options.out);  // first, so that a missing folder is reported before the work
  const inference::LanguageModel model = inference::load_language_model(options.model, options.chat);
  const data::PromptSet set = data::read_prompts(options.prompts);
  const inference::RenderPolicy limit = common::overridden(command, options.limit, model.limit);
  const policy::SamplingConfig sampling = common::sampling_within(options.config.sampling, limit.max_tokens);
  const auto records = inference::prompts_for(model, set, {.bos = !options.no_bos, .limit = limit}, sampling.max_new_tokens);
  std::vector<core::Ids> prompts;
  std::vector<int64_t> indices;  // draws are keyed by row, so that a row that does not fit changes no other
  for (size_t i = 0; i < records.size(); ++i) {
    if (!records[i].too_long.empty()) continue;
    prompts.push_back(records[i].ids);
    indices.push_back(static_cast<int64_t>(i));
  }
  const core::Ids stops = model.tokenizer->eos() ? data::stop_ids(model.format, *model.tokenizer) : core::Ids{};
  core::Progress progress("generate", static_cast<int64_t>(prompts.size()) * options.samples, "answers");
  const auto samples = policy::generate(model.llama, {.prompts = prompts,
                                                      .samples = options.samples,
                                                      .sampling = sampling,
                                                      .stop_ids = stops,
                                                      .seed = seed,
                                                      .purpose = "generate",
                                                      .records = indices,
                                                      .batch_rows = options.config.batch_rows,
                                                      .done = [&](int64_t finished) { progress.update(finished); }});
  size_t next = 0;
  for (size_t row = 0; row < records.size(); ++row) {
    if (!records[row].too_long.empty()) {
      core::log_warn(fmt::format("{}:{}: {}", set.path, set.records[row].line, records[row].too_long));
      writer.write({{"index", row}, {"error", records[row].too_long}});
      continue;
    }
    // Raw prompts get their raw continuation; only answers in a dialogue are stripped.
    const bool chat = set.records[row].messages.has_value();
    for (int64_t i = 0; i < options.samples; ++i) {
      const core::Sample& sample = samples[next++];
      writer.write({{"index", row},
                    {"sample", sample.sample},
                    {"ids", sample.ids},
                    {"text", chat ? data::answer_text(model.format, *model.tokenizer, sample.ids)
                                  : data::continuation_text(*model.tokenizer, records[row].ids, sample.ids)},
                    {"logprobs", sample.logprobs},
                    {"finish_reason", core::name_of(sample.finish)}});
    }
  }
  writer.commit();
}

}  // namespace

void add_generate(CLI::App& app, common::Invocation& invocation) {
  auto options = std::make_shared<GenerateOptions>();
  CLI::App* command = app.add_subcommand("generate", "answers to prompts, with their log-probabilities");
  command->add_option("--model", options->model, "model folder, or that of a PEFT adapter")->required()->type_name("DIR");
  common::add_base(*command, invocation);
  command->add_option("--prompts", options->prompts, "rows {\"prompt\"}, {\"messages\"} or {\"ids\"} (.jsonl, .gz, .zst, .parquet)")
      ->required()
      ->type_name("FILE");
  command->add_option("--out", options->out, "one row an answer; standard output when left out")->type_name("FILE");
  command->add_option("--samples", options->samples, "answers to each prompt")->capture_default_str()->check(CLI::Range(1, 1'000'000));
  common::add_sampling_options(*command, options->config.sampling, options->settings);
  command->add_option("--chat", options->chat, "chat format instead of the model's own: a name, or a .json file that declares one");
  command->add_flag("--no-bos", options->no_bos, "leave out the BOS that the tokenizer's files ask for in raw text");
  common::add_render_policy(*command, options->limit, "a longer row gets an \"error\"");
  common::add_common_options(*command, invocation);
  common::describe_fields(*command, core::fields_of(options->config));
  command->callback([options, command, &invocation] {
    invocation.action = [options, command, &invocation] {
      invocation.set.insert(invocation.set.end(), options->settings.begin(), options->settings.end());
      common::configure(core::fields_of(options->config), invocation);
      common::use_base(invocation, {options->model});
      generate_rows(*options, *command, invocation.seed);
    };
  });
}

}  // namespace keel::pipelines::cli::models
