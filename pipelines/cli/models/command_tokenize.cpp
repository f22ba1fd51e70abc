// keel tokenize: text or dialogues to ids, and back with --decode.
#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/interrupt.h"
#include "core/jsonl.h"
#include "data/messages.h"
#include "data/prompts.h"
#include "inference/model_folder.h"
#include "pipelines/cli/common/options.h"
#include "pipelines/cli/models/commands.h"

namespace keel::pipelines::cli::models {
namespace {

struct TokenizeOptions {
  std::string tokenizer, chat, in, out;
  bool no_bos = false, decode = false, allow_tags = false;
};

void decode_rows(const TokenizeOptions& options, const data::Tokenizer& tokenizer) {
  common::check_output(options.out, {options.in});
  core::JsonlWriter writer(options.out);
  for (const data::PromptSet set = data::read_prompts(options.in); const auto& record : set.records) {
    core::stop_if_interrupted("decoding");
    data::with_place(set.path, record.line, [&] {
      if (!record.ids) throw std::invalid_argument("--decode needs \"ids\"");
      try {
        writer.write({{"text", tokenizer.decode(*record.ids)}});
      } catch (const std::out_of_range& error) {
        throw std::invalid_argument(error.what());
      }
    });
  }
  writer.commit();
}

void encode_rows(const TokenizeOptions& options, const data::Tokenizer& tokenizer) {
  common::check_output(options.out, {options.in});
  const auto format = inference::chat_format_of(options.tokenizer, options.chat);
  const auto tags = options.allow_tags ? data::TagPolicy::allow : data::TagPolicy::refuse;
  core::JsonlWriter writer(options.out);
  for (const data::PromptSet set = data::read_prompts(options.in, "text"); const auto& record : set.records) {
    core::stop_if_interrupted("tokenizing");
    data::with_place(set.path, record.line, [&] {
      if (record.messages)
        writer.write({{"ids", data::render(format, tokenizer, *record.messages, tags).ids}});
      else
        writer.write({{"ids", data::prompt_ids(record, format, tokenizer, tags, !options.no_bos)}});
    });
  }
  writer.commit();
}

}  // namespace

void add_tokenize(CLI::App& app, common::Invocation& invocation) {
  auto options = std::make_shared<TokenizeOptions>();
  CLI::App* command = app.add_subcommand("tokenize", "text or dialogues to token ids, and back");
  command->add_option("--tokenizer", options->tokenizer, "a .model, tokenizer.json, .gguf, model folder or adapter")
      ->required()
      ->type_name("PATH");
  command->add_option("--chat", options->chat,
                      "chat format of {\"messages\"} rows: a name, or a .json file that declares one; a model folder's own when left out");
  command->add_option("--in", options->in, "rows {\"text\"} or {\"messages\"}; {\"ids\"} with --decode (.jsonl, .gz, .zst, .parquet)")
      ->required()
      ->type_name("FILE");
  command->add_option("--out", options->out, "rows {\"ids\"} or {\"text\"}; standard output when left out")->type_name("FILE");
  command->add_flag("--no-bos", options->no_bos, "leave out the BOS that the tokenizer's files ask for in raw text");
  command->add_flag("--decode", options->decode, "ids to text");
  command->add_flag("--allow-tags", options->allow_tags, "keep chat-format tags in messages as plain text instead of refusing them");
  common::add_base(*command, invocation);
  common::add_common_options(*command, invocation);
  command->callback([options, &invocation] {
    invocation.action = [options, &invocation] {
      common::configure({}, invocation);
      common::use_base(invocation, {options->tokenizer});
      const auto tokenizer = inference::load_tokenizer(options->tokenizer);
      options->decode ? decode_rows(*options, *tokenizer) : encode_rows(*options, *tokenizer);
    };
  });
}

}  // namespace keel::pipelines::cli::models
