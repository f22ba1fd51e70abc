// keel logprobs: log-probabilities of given text.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <memory>
#include <nlohmann/json.hpp>

#include "core/jsonl.h"
#include "inference/records.h"
#include "pipelines/cli/common/options.h"
#include "pipelines/cli/models/commands.h"
#include "policy/logprobs.h"

namespace keel::pipelines::cli::models {
namespace {

struct LogprobsOptions {
  std::string model, in, out, chat;
  bool no_bos = false, allow_tags = false;
};

void logprobs_rows(const LogprobsOptions& options) {
  common::check_output(options.out, {options.in});
  core::JsonlWriter writer(options.out);  // first, so that a missing folder is reported before the work
  const inference::LanguageModel model = inference::load_language_model(options.model, options.chat);
  const data::PromptSet set = data::read_prompts(options.in);
  const auto sequences = inference::answers_for(model, set, {.bos = !options.no_bos, .limit = {.allow_tags = options.allow_tags}});
  std::vector<core::Ids> rows;
  for (const auto& sequence : sequences)
    if (sequence) rows.push_back(sequence->ids);
  const auto logprobs = policy::sequence_logprobs(model.llama, rows);
  size_t row = 0;
  for (const auto& sequence : sequences) {
    if (!sequence) {
      writer.write({{"error", fmt::format("more tokens than the model's context of {}", model.llama.config.max_position_embeddings)}});
      continue;
    }
    std::vector<float> asked;
    for (size_t t = 1; t < sequence->ids.size(); ++t)
      if (sequence->loss_mask[t]) asked.push_back(logprobs[row][t - 1]);
    writer.write({{"logprobs", asked}});
    ++row;
  }
  writer.commit();
}

}  // namespace

void add_logprobs(CLI::App& app, common::Invocation& invocation) {
  auto options = std::make_shared<LogprobsOptions>();
  CLI::App* command = app.add_subcommand("logprobs", "log-probabilities (nats) of given ids or answers");
  command->add_option("--model", options->model, "model folder, or that of a PEFT adapter")->required()->type_name("DIR");
  common::add_base(*command, invocation);
  command->add_option("--in", options->in, "rows {\"ids\"}, {\"prompt\",\"response\"} or {\"messages\"} (.jsonl, .gz, .zst, .parquet)")
      ->required()
      ->type_name("FILE");
  command->add_option("--out", options->out, "rows {\"logprobs\"}, or {\"error\"} for one that does not fit; standard output when left out")
      ->type_name("FILE");
  command->add_option("--chat", options->chat, "chat format instead of the model's own: a name, or a .json file that declares one");
  command->add_flag("--no-bos", options->no_bos, "leave out the BOS that the tokenizer's files ask for in raw text");
  command->add_flag("--allow-tags", options->allow_tags, "keep chat-format tags in messages as plain text instead of refusing them");
  common::add_common_options(*command, invocation);
  command->callback([options, &invocation] {
    invocation.action = [options, &invocation] {
      common::configure({}, invocation);
      common::use_base(invocation, {options->model});
      logprobs_rows(*options);
    };
  });
}

}  // namespace keel::pipelines::cli::models
