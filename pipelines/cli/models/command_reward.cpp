// keel reward eval and keel reward stats: reward models on preference pairs, and statistics of such pairs.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/jsonl.h"
#include "evaluation/pair_evaluation.h"
#include "inference/remote_reward.h"
#include "pipelines/cli/common/options.h"
#include "pipelines/cli/models/commands.h"

namespace keel::pipelines::cli::models {

void add_reward_eval(CLI::App& group, common::Invocation& invocation) {
  struct Options {
    std::vector<std::string> rewards, files;
    std::string out, tokenizer;
    bool safety = false;
    inference::RenderPolicy limit;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = group.add_subcommand("eval", "reward models on preference pairs: accuracy, calibration, unsafe answers, length");
  command->add_option("--reward", options->rewards, "reward model folder, or http://HOST:PORT/rm/NAME of keel serve; repeats")
      ->required()
      ->type_name("DIR")
      ->expected(1)
      ->take_all();
  command->add_option("--data", options->files, "preference pairs (.jsonl, .gz, .zst, .parquet); repeats")
      ->required()
      ->type_name("FILE")
      ->expected(1)
      ->take_all();
  common::add_base(*command, invocation);
  command
      ->add_option(
          "--out", options->out,
          "one JSON line for each model and file, then one for the agreement of every two models on each file; standard output when "
          "left out")
      ->type_name("FILE");
  command->add_option("--tokenizer", options->tokenizer, "model folder with the tokenizer and chat format of the services' models")
      ->type_name("DIR");
  command->add_flag("--safety", options->safety, "safety data, as in reward train");
  common::add_render_policy(*command, options->limit, "longer ones are dropped and counted");
  common::add_common_options(*command, invocation);
  command->callback([=, &invocation] {
    invocation.action = [=, &invocation] {
      common::configure({}, invocation);
      common::use_base(invocation, options->rewards);
      common::check_output(options->out, options->files);
      core::JsonlWriter writer(options->out);
      std::vector<evaluation::RewardFolder> rewards;
      for (const auto& folder : options->rewards)
        rewards.push_back({.name = folder, .path = folder, .text_of = options->tokenizer});
      if (std::ranges::any_of(options->rewards, inference::is_remote) != !options->tokenizer.empty())
        throw core::UsageError("--tokenizer DIR is needed for --reward http://..., and read for nothing else");
      std::vector<evaluation::PairFile> files;
      for (const auto& file : options->files)
        files.push_back({.name = file, .path = file, .safety = options->safety});
      const auto limit_of = [&](const inference::ScoringModel& model) { return common::overridden(*command, options->limit, model.limit); };
      const auto result = evaluation::cross_evaluation(rewards, files, limit_of);
      for (const char* kind : {"evaluations", "agreements"})
        for (const auto& row : result.at(kind))
          writer.write(row);
      writer.commit();
    };
  });
}

void add_reward_stats(CLI::App& group, common::Invocation& invocation) {
  struct Options {
    std::string file, held_out, tokenizer, out;
    bool safety = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = group.add_subcommand("stats", "preference pairs by source: comparisons, turns and tokens; repeats and leaks");
  command->add_option("--data", options->file, "preference pairs (.jsonl, .gz, .zst, .parquet)")->required()->type_name("FILE");
  command->add_option("--held-out", options->held_out, "held-out pairs; counts the prompts that --data shares with them")
      ->type_name("FILE");
  command->add_option("--tokenizer", options->tokenizer, "a .model, tokenizer.json, .gguf or folder that holds one")
      ->required()
      ->type_name("PATH");
  command->add_option("--out", options->out, "one JSON line a source, then the total; standard output when left out")->type_name("FILE");
  command->add_flag("--safety", options->safety, "safety data, as in reward train");
  common::add_common_options(*command, invocation);
  command->callback([=, &invocation] {
    invocation.action = [=, &invocation] {
      common::configure({}, invocation);
      common::check_output(options->out, {options->file, options->held_out});
      core::JsonlWriter writer(options->out);
      for (const auto& row : evaluation::preference_statistics(options->file, options->held_out, options->tokenizer, options->safety))
        writer.write(row);
      writer.commit();
    };
  });
}

}  // namespace keel::pipelines::cli::models
