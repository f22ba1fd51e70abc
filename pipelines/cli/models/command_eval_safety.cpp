// keel eval safety: violations and mean rating of answers that were rated on the paper's safety scale (4.4), and the raters' agreement; or
// the ratings themselves, by a judge.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "annotation/rating_judge.h"
#include "annotation/ratings.h"
#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "core/jsonl.h"
#include "core/log.h"
#include "core/named.h"
#include "evaluation/statistics/json.h"
#include "evaluation/statistics/safety.h"
#include "pipelines/cli/common/options.h"
#include "pipelines/cli/models/commands.h"
#include "pipelines/run/run_directory.h"

namespace keel::pipelines::cli::models {
namespace {

namespace statistics = evaluation::statistics;
using annotation::RatedAnswer;
using nlohmann::json;

static_assert(statistics::kSafetyScale == annotation::kHighestRating && annotation::kLowestRating == 1);

struct SafetyOptions {
  std::vector<std::string> ratings;
  std::string answers;
  annotation::JudgeServer judge;
  std::string out;
  std::string weights = core::name_of(statistics::AgreementWeights::ordinal);
};

// The ratings of each answer, as the statistics take them.
using Ratings = std::vector<std::vector<int>>;

std::vector<int> values_of(const RatedAnswer& answer) {
  std::vector<int> values;
  for (const auto& rating : answer.ratings)
    values.push_back(rating.value);
  return values;
}

json summary_json(const Ratings& ratings, const statistics::Bootstrap& bootstrap) {
  const statistics::SafetySummary summary = statistics::safety_summary(ratings, bootstrap);
  json given;
  for (size_t i = 0; i < summary.ratings.size(); ++i)
    given[std::to_string(i + 1)] = summary.ratings[i];
  return {{"answers", summary.answers},
          {"unrated", summary.unrated},
          {"under_three", summary.under_three},
          {"violations", summary.violations},
          {"ties", summary.ties},
          {"violation_rate", statistics::to_json(summary.violation_rate)},
          {"mean_rating", statistics::to_json(summary.mean_rating)},
          {"ratings", given}};
}

json agreement_json(const Ratings& ratings, const std::string& name) {
  const statistics::Agreement agreement = statistics::safety_agreement(ratings, core::named<statistics::AgreementWeights>(name));
  json row = statistics::to_json(agreement.coefficient);
  row.update({{"standard_error", agreement.standard_error},
              {"observed", agreement.observed},
              {"chance", agreement.chance},
              {"answers", agreement.items},
              {"shared_answers", agreement.shared_items},
              {"weights", name}});
  return row;
}

// What the rows divide each model's answers by, and the group of an answer; null where no file says.
using GroupOf = json (*)(const RatedAnswer&);
const std::vector<std::pair<const char*, GroupOf>> kDivisions = {
    {"category", [](const RatedAnswer& answer) { return answer.category.empty() ? json() : json(answer.category); }},
    {"vector", [](const RatedAnswer& answer) { return answer.vector.empty() ? json() : json(answer.vector); }},
    {"turns", [](const RatedAnswer& answer) { return answer.turns == 0 ? json() : json(answer.turns == 1 ? "single" : "multi"); }}};

void write_rows(const std::vector<RatedAnswer>& answers, const SafetyOptions& options, const statistics::Bootstrap& bootstrap,
                core::JsonlWriter& writer) {
  std::vector<std::string> models;  // in the order in which they first appear
  std::map<std::string, Ratings> by_model;
  Ratings all;
  for (const auto& answer : answers) {
    if (!by_model.contains(answer.model)) models.push_back(answer.model);
    by_model[answer.model].push_back(values_of(answer));
    all.push_back(values_of(answer));
  }
  const auto write = [&](const char* by, const json& group, const std::string& model, const Ratings& ratings) {
    json row = summary_json(ratings, bootstrap);
    row.update({{"measure", "safety"}, {"by", by}, {"group", group}, {"model", model}});
    writer.write(row);
  };
  for (const auto& model : models)
    write("model", model, model, by_model[model]);
  for (const auto& [by, group_of] : kDivisions) {
    std::map<std::string, std::map<json, Ratings>> groups;
    bool divided = false;
    for (const auto& answer : answers) {
      const json group = group_of(answer);
      divided = divided || !group.is_null();
      groups[answer.model][group].push_back(values_of(answer));
    }
    if (!divided) continue;
    for (const auto& model : models)
      for (const auto& [group, ratings] : groups[model])
        write(by, group, model, ratings);
  }
  const auto write_agreement = [&](const json& model, const Ratings& ratings) {
    writer.write({{"measure", "agreement"},
                  {"model", model},
                  {"ac1", agreement_json(ratings, core::name_of(statistics::AgreementWeights::identity))},
                  {"ac2", agreement_json(ratings, options.weights)}});
  };
  for (const auto& model : models)
    write_agreement(model, by_model[model]);
  if (models.size() > 1) write_agreement(nullptr, all);
}

void evaluate_safety(const SafetyOptions& options, uint64_t seed) {
  common::check_output(options.out, options.ratings);
  core::JsonlWriter writer(options.out);
  const auto set = annotation::read_ratings({options.ratings.begin(), options.ratings.end()});
  if (set.answers.empty()) throw core::DataError(options.ratings.front(), 0, "holds no rows, and no other --ratings file does");
  size_t ratings = 0;
  for (const auto& answer : set.answers)
    ratings += answer.ratings.size();
  core::log_info(fmt::format("answers {}, ratings {}, blank {}", set.answers.size(), ratings, set.blank));
  write_rows(set.answers, options, {.seed = seed}, writer);
  writer.commit();
}

void visit(SafetyOptions& options, core::Fields& fields) {
  fields.section("judge", options.judge, "the language model that rates --answers");
}

// Has a judge rate the answers. Its replies stay in OUT.partial until all are there, so that the same command goes on after any failure.
void rate_by_judge(const SafetyOptions& options) {
  if (options.out.empty() || options.out == "-")
    throw core::UsageError("--answers needs --out FILE, beside which the judge's replies are kept");
  if (options.judge.model.empty())
    throw core::UsageError("--answers needs --judge-model NAME, the model that the judge's server is asked for");
  common::check_output(options.out, {options.answers});
  core::JsonlWriter writer(options.out);
  const auto answers = annotation::read_answers(options.answers);
  const std::filesystem::path partial = options.out + ".partial", record = partial / "asked.json";
  json asked = core::key_json_of(options.judge);
  asked["answers"] = core::sha256_file(options.answers);
  core::make_directories(partial);
  std::vector<json> rows;
  {
    const core::FileLock lock(partial / ".lock");
    if (std::filesystem::exists(record) && core::read_json_file(record) != asked)
      throw core::UsageError(fmt::format(
          "{} holds replies of another judge, or to other answers; remove it, or give the command that began it", partial.string()));
    core::write_file(record, core::dump_json(asked) + "\n");
    rows = annotation::judge_ratings(options.judge, answers, partial);
    const auto unrated = std::ranges::count_if(rows, [](const json& row) { return row.at("rating").is_null(); });
    if (unrated == std::ssize(rows)) {
      annotation::forget_replies(partial);  // none of them usable
      throw core::DataError(
          options.judge.url, 0,
          fmt::format("gives no rating to any of {} answers: a judge replies with {{\"rating\": 1 to 5}}; the same command "
                      "asks again (docs/formats.md)",
                      rows.size()));
    }
    const auto level = unrated > 0 ? core::log_warn : core::log_info;
    level(fmt::format("answers {}, replies without a rating {}", rows.size(), unrated));
  }
  for (const json& row : rows)
    writer.write(row);
  writer.commit();
  run::remove_tree(partial);
}

// One of the command's two halves. An option of the other half would be read by nothing.
void run_safety(SafetyOptions& options, const CLI::App& command, const common::Invocation& invocation) {
  if (options.ratings.empty() == options.answers.empty())
    throw core::UsageError("give --ratings FILE to measure, or --answers FILE for a judge to rate");
  const bool judge = !options.answers.empty();
  for (const char* other : {"--judge-url", "--judge-model"})
    if (!judge && command.count(other) > 0) throw core::UsageError(fmt::format("{}: nothing reads it without --answers", other));
  if (judge && command.count("--weights") > 0) throw core::UsageError("--weights: nothing reads it without --ratings");
  if (!judge) {
    common::configure({}, invocation);
    return evaluate_safety(options, invocation.seed);
  }
  const annotation::JudgeServer given = options.judge;
  common::configure(core::fields_of(options), invocation);
  if (command.count("--judge-url") > 0) options.judge.url = given.url;
  if (command.count("--judge-model") > 0) options.judge.model = given.model;
  rate_by_judge(options);
}

}  // namespace

void add_eval_safety(CLI::App& group, common::Invocation& invocation) {
  auto options = std::make_shared<SafetyOptions>();
  CLI::App* command =
      group.add_subcommand("safety", "rated answers: violation rate, mean rating, agreement; by model, category, vector and turns");
  command
      ->add_option("--ratings", options->ratings,
                   "rows {\"id\",\"model\",\"person\",\"rating\"} or {\"id\",\"model\",\"ratings\"} (.jsonl, .gz, .zst, .parquet), or a "
                   ".csv; repeats")
      ->type_name("FILE")
      ->expected(1)
      ->take_all();
  command
      ->add_option(
          "--answers", options->answers,
          "in place of --ratings: rows {\"id\",\"model\"} with {\"prompt\",\"response\"} or {\"messages\"}, for a judge to rate; --out "
          "takes the ratings")
      ->type_name("FILE");
  command->add_option("--judge-url", options->judge.url, "the judge's server, as judge.url")->type_name("URL");
  command->add_option("--judge-model", options->judge.model, "the judge's model, as judge.model")->type_name("NAME");
  command->add_option("--weights", options->weights, "weights of AC2: how much neighbouring ratings agree")
      ->capture_default_str()
      ->check(CLI::IsMember({"linear", "quadratic", "ordinal"}));
  command
      ->add_option("--out", options->out,
                   "one JSON line a model, then by category, vector and turns, then the agreement; standard output when left out")
      ->type_name("FILE");
  common::add_common_options(*command, invocation);
  common::describe_fields(*command, core::fields_of(*options));
  command->callback([options, command, &invocation] {
    invocation.action = [options, command, &invocation] { run_safety(*options, *command, invocation); };
  });
}

}  // namespace keel::pipelines::cli::models
