// keel score: rewards of answers, by one reward model or by two combined as in the paper.
#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/jsonl.h"
#include "inference/records.h"
#include "pipelines/cli/commands.h"
#include "reward/combination.h"

namespace keel::pipelines::cli {
namespace {

struct ScoreOptions {
  std::vector<std::string> rewards;
  std::string combine, in, out;
  bool allow_tags = false;
};

std::vector<double> scores_of(const std::string& folder, const data::PromptSet& set, bool allow_tags) {
  const inference::ScoringModel model = inference::load_scoring_model(folder);
  const auto rows =
      inference::dialogues_for(model, set, {.bos = true, .tags = allow_tags ? data::TagPolicy::allow : data::TagPolicy::refuse});
  return reward::score_rows(model.model, rows);
}

void score_rows(const ScoreOptions& options) {
  if (options.rewards.size() > 2 || (options.rewards.size() == 2) != !options.combine.empty())
    throw core::UsageError("give one --reward DIR, or two (helpfulness, then safety) with --combine llama2");
  check_output(options.out, {options.in});
  core::JsonlWriter writer(options.out);  // first: a folder that is missing shows before the work
  const data::PromptSet set = data::read_prompts(options.in);
  std::vector<double> scores = scores_of(options.rewards[0], set, options.allow_tags);
  if (options.rewards.size() == 2) {
    const std::vector<double> safety = scores_of(options.rewards[1], set, options.allow_tags);
    for (size_t i = 0; i < scores.size(); ++i)
      if (reward::safety_decides(safety[i], set.records[i].hazard, {})) scores[i] = safety[i];
  }
  for (const double score : scores)
    writer.write({{"score", score}, {"probability", reward::probability(score)}});
  writer.commit();
}

}  // namespace

void add_score(CLI::App& app, Invocation& invocation) {
  auto options = std::make_shared<ScoreOptions>();
  CLI::App* command = app.add_subcommand("score", "rewards of answers: raw score and its sigmoid");
  command->add_option("--reward", options->rewards, "reward model folder; twice (helpfulness, safety) with --combine")
      ->required()
      ->type_name("DIR")
      ->expected(1)
      ->take_all();
  command
      ->add_option(
          "--combine", options->combine,
          "llama2: the safety score where the row has \"hazard\": true or its probability is below 0.15, else the helpfulness score")
      ->check(CLI::IsMember({"llama2"}));
  command->add_option("--in", options->in, "rows {\"prompt\",\"response\"}, {\"messages\"} or {\"ids\"} (.jsonl, .gz, .zst)")
      ->required()
      ->type_name("FILE");
  command->add_option("--out", options->out, "rows {\"score\",\"probability\"}; standard output when left out")->type_name("FILE");
  command->add_flag("--allow-tags", options->allow_tags, "keep chat-format tags in messages as plain text instead of refusing them");
  add_common_options(*command, invocation);
  command->callback([options, &invocation] {
    invocation.action = [options, &invocation] {
      configure({}, invocation);
      score_rows(*options);
    };
  });
}

}  // namespace keel::pipelines::cli
