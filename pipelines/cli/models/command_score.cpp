// keel score: rewards of answers, by one reward model or by two combined as in the paper.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <memory>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/jsonl.h"
#include "core/log.h"
#include "data/messages.h"
#include "inference/records.h"
#include "inference/remote_reward.h"
#include "inference/reward_models.h"
#include "pipelines/cli/common/options.h"
#include "pipelines/cli/models/commands.h"
#include "reward/combination.h"

namespace keel::pipelines::cli::models {
namespace {

struct ScoreOptions {
  std::vector<std::string> rewards;
  std::string url, combine, in, out, chat;
  double gate_threshold = 0;
  inference::RenderPolicy limit;
};

// One reward model's score of each row, or why there is none.
struct RowScores {
  std::vector<double> scores;
  std::vector<std::string> too_long;
};

RowScores scores_of(const std::string& folder, const data::PromptSet& set, const ScoreOptions& options, const CLI::App& command) {
  const inference::ScoringModel model = inference::load_scoring_model(folder, options.chat);
  const inference::RenderPolicy limit = common::overridden(command, options.limit, model.limit);
  const auto records = inference::dialogues_for(model, set, {.bos = true, .limit = limit});
  std::vector<core::Ids> rows;
  RowScores result{.scores = std::vector<double>(records.size()), .too_long = {}};
  for (const auto& record : records) {
    result.too_long.push_back(record.too_long);
    if (record.too_long.empty()) rows.push_back(record.ids);
  }
  const std::vector<double> scores = model.score(rows);
  for (size_t i = 0, next = 0; i < records.size(); ++i)
    if (records[i].too_long.empty()) result.scores[i] = scores[next++];
  return result;
}

nlohmann::json input_of(const data::PromptRecord& record) {
  if (record.ids) return {{"ids", *record.ids}, {"hazard", record.hazard}};
  return {{"messages", data::messages_json(data::answered_dialogue(record))}, {"hazard", record.hazard}};
}

// The same rows from a model that keel serve holds, rendered there.
void score_by_service(const ScoreOptions& options, const CLI::App& command) {
  for (const char* other : {"--reward", "--combine", "--gate-threshold", "--chat", "--max-tokens", "--drop-oldest-turns", "--allow-tags"})
    if (command.count(other) > 0)
      throw core::UsageError(fmt::format("{}: nothing reads it with --url; the service was started with its own", other));
  common::check_output(options.out, {options.in});
  core::JsonlWriter writer(options.out);
  const data::PromptSet set = data::read_prompts(options.in);
  const inference::RewardClient client(options.url);
  core::log_info(fmt::format("{}: model {}, digest {}", options.url, client.name(), client.digest()));
  std::vector<nlohmann::json> inputs;
  for (const auto& record : set.records)
    inputs.push_back(data::with_place(set.path, record.line, [&] { return input_of(record); }));
  const auto rows = client.ask(inputs, "keep_end");
  for (size_t i = 0; i < rows.size(); ++i) {
    if (!rows[i].value("cut", false)) {
      writer.write({{"score", rows[i].at("score")}, {"probability", rows[i].at("probability")}});
      continue;
    }
    const std::string problem = "the text is longer than the model's limit";
    core::log_warn(fmt::format("{}:{}: {}", set.path, set.records[i].line, problem));
    writer.write({{"error", problem}});
  }
  writer.commit();
}

void score_rows(const ScoreOptions& options, const CLI::App& command) {
  if (!options.url.empty()) return score_by_service(options, command);
  if (options.rewards.empty() || options.rewards.size() > 2 || (options.rewards.size() == 2) != !options.combine.empty())
    throw core::UsageError("give one --reward DIR (or --url URL), or two (helpfulness, then safety) with --combine llama2");
  const bool gate_given = command.count("--gate-threshold") > 0;
  if (gate_given && options.rewards.size() < 2) throw core::UsageError("--gate-threshold: nothing reads it without --combine llama2");
  common::check_output(options.out, {options.in});
  core::JsonlWriter writer(options.out);  // first, so that a missing folder is reported before the work
  const data::PromptSet set = data::read_prompts(options.in);
  if (options.rewards.size() == 2) inference::check_reward_kinds(options.rewards[0], options.rewards[1]);
  RowScores rows = scores_of(options.rewards[0], set, options, command);
  if (options.rewards.size() == 2) {
    const RowScores safety = scores_of(options.rewards[1], set, options, command);
    reward::CombinationConfig gate;
    if (gate_given)
      gate.gate_threshold = options.gate_threshold;
    else
      gate = inference::recorded_gate(options.rewards[1]);
    core::log_info(fmt::format("the safety model decides where the row is a hazard or its probability is below {}", gate.gate_threshold));
    for (size_t i = 0; i < rows.scores.size(); ++i) {
      if (rows.too_long[i].empty()) rows.too_long[i] = safety.too_long[i];
      if (rows.too_long[i].empty() && reward::safety_decides(safety.scores[i], set.records[i].hazard, gate))
        rows.scores[i] = safety.scores[i];
    }
  }
  for (size_t i = 0; i < rows.scores.size(); ++i) {
    if (rows.too_long[i].empty()) {
      writer.write({{"score", rows.scores[i]}, {"probability", reward::probability(rows.scores[i])}});
      continue;
    }
    core::log_warn(fmt::format("{}:{}: {}", set.path, set.records[i].line, rows.too_long[i]));
    writer.write({{"error", rows.too_long[i]}});
  }
  writer.commit();
}

}  // namespace

void add_score(CLI::App& app, common::Invocation& invocation) {
  auto options = std::make_shared<ScoreOptions>();
  CLI::App* command = app.add_subcommand("score", "rewards of answers: raw score and its sigmoid");
  command
      ->add_option("--reward", options->rewards,
                   "reward model folder, or that of a PEFT adapter; twice (helpfulness, safety) with --combine")
      ->type_name("DIR")
      ->expected(1)
      ->take_all();
  common::add_base(*command, invocation);
  command
      ->add_option("--url", options->url, "in place of --reward: keel serve, http://HOST:PORT/rm/NAME; $KEEL_SERVE_KEY is its bearer token")
      ->type_name("URL");
  command
      ->add_option(
          "--combine", options->combine,
          "llama2: the safety score where the row has \"hazard\": true or its probability is below the gate, else the helpfulness score")
      ->check(CLI::IsMember({"llama2"}));
  command->add_option("--in", options->in, "rows {\"prompt\",\"response\"}, {\"messages\"} or {\"ids\"} (.jsonl, .gz, .zst, .parquet)")
      ->required()
      ->type_name("FILE");
  command->add_option("--out", options->out, "rows {\"score\",\"probability\"}; standard output when left out")->type_name("FILE");
  command
      ->add_option("--gate-threshold", options->gate_threshold,
                   "gate of --combine; that of combination.json beside the safety model's folder when left out, else 0.15")
      ->type_name("NUMBER")
      ->check(CLI::Range(0.0, 1.0));
  command->add_option("--chat", options->chat, "chat format instead of the model's own: a name, or a .json file that declares one");
  common::add_render_policy(*command, options->limit, "a longer row gets an \"error\"");
  common::add_common_options(*command, invocation);
  command->callback([options, command, &invocation] {
    invocation.action = [options, command, &invocation] {
      common::configure({}, invocation);
      common::use_base(invocation, options->rewards);
      score_rows(*options, *command);
    };
  });
}

}  // namespace keel::pipelines::cli::models
