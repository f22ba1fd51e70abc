// keel eval safety: violations and mean rating of answers that were rated on the paper's safety scale (4.4), and the raters' agreement.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "annotation/ratings.h"
#include "core/error.h"
#include "core/jsonl.h"
#include "core/log.h"
#include "evaluation/statistics/json.h"
#include "evaluation/statistics/safety.h"
#include "pipelines/cli/commands.h"

namespace keel::pipelines::cli {
namespace {

namespace statistics = evaluation::statistics;
using annotation::RatedAnswer;
using nlohmann::json;

static_assert(statistics::kSafetyScale == annotation::kHighestRating && annotation::kLowestRating == 1);

struct SafetyOptions {
  std::vector<std::string> ratings;
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
  statistics::AgreementWeights weights{};
  for (const auto& known : names(weights))
    if (known.name == name) weights = known.value;
  const statistics::Agreement agreement = statistics::safety_agreement(ratings, weights);
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
  check_output(options.out, options.ratings);
  core::JsonlWriter writer(options.out);
  const auto set = annotation::read_ratings({options.ratings.begin(), options.ratings.end()});
  if (set.answers.empty()) throw core::DataError(options.ratings.front(), 0, "and the other --ratings files hold no rows");
  core::log_info(fmt::format("{} answers are rated; {} places for a rating are blank", set.answers.size(), set.blank));
  write_rows(set.answers, options, {.seed = seed}, writer);
  writer.commit();
}

}  // namespace

void add_eval_safety(CLI::App& group, Invocation& invocation) {
  auto options = std::make_shared<SafetyOptions>();
  CLI::App* command =
      group.add_subcommand("safety", "rated answers: violation rate, mean rating, agreement; by model, category, vector and turns");
  command
      ->add_option(
          "--ratings", options->ratings,
          "rows {\"id\",\"model\",\"person\",\"rating\"} or {\"id\",\"model\",\"ratings\"} (.jsonl, .gz, .zst), or a .csv; repeats")
      ->required()
      ->type_name("FILE")
      ->expected(1)
      ->take_all();
  command->add_option("--weights", options->weights, "weights of AC2: how much neighbouring ratings agree")
      ->capture_default_str()
      ->check(CLI::IsMember({"linear", "quadratic", "ordinal"}));
  command
      ->add_option("--out", options->out,
                   "one JSON line a model, then by category, vector and turns, then the agreement; standard output when left out")
      ->type_name("FILE");
  add_common_options(*command, invocation);
  command->callback([options, &invocation] {
    invocation.action = [options, &invocation] {
      configure({}, invocation);
      evaluate_safety(*options, invocation.seed);
    };
  });
}

}  // namespace keel::pipelines::cli
