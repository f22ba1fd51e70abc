#include "pipelines/collection/verdicts.h"

#include <fmt/format.h>

#include <set>

#include "core/log.h"
#include "evaluation/statistics/agreement.h"
#include "evaluation/statistics/interval.h"
#include "evaluation/statistics/json.h"

namespace keel::pipelines::collection {
namespace {

namespace fs = std::filesystem;
namespace statistics = evaluation::statistics;
using annotation::Verdict;
using nlohmann::json;

constexpr int kStrengths = 4;

// The verdict as a rating: from "the first significantly better", 0, to "the second significantly better", 7.
int signed_strength(const Verdict& verdict) {
  return verdict.first ? kStrengths - verdict.strength : kStrengths - 1 + verdict.strength;
}

json agreement_json(const statistics::Agreement& agreement) {
  json row = to_json(agreement.coefficient);
  row.update({{"observed", agreement.observed}, {"chance", agreement.chance}, {"comparisons", agreement.shared_items}});
  return row;
}

// How far people agree on the choice (AC1), and on the choice with its strength (AC2, ordinal weights).
json people_agreement(const std::vector<annotation::PeopleSaid>& said) {
  std::vector<std::vector<int>> choices, strengths;
  for (const auto& one : said) {
    choices.emplace_back();
    strengths.emplace_back();
    for (const Verdict& verdict : one.verdicts) {
      choices.back().push_back(verdict.first ? 0 : 1);
      strengths.back().push_back(signed_strength(verdict));
    }
  }
  return {{"ac1", agreement_json(statistics::gwet_agreement(choices, 2, statistics::AgreementWeights::identity))},
          {"ac2", agreement_json(statistics::gwet_agreement(strengths, 2 * kStrengths, statistics::AgreementWeights::ordinal))}};
}

std::string shown(const json& interval) {
  const auto number = [&](const char* key) {
    return interval.at(key).is_number() ? fmt::format("{:.3f}", interval.at(key).get<double>()) : "unknown";
  };
  return fmt::format("{} [{}, {}]", number("mean"), number("low"), number("high"));
}

}  // namespace

BatchVerdicts verdicts_of_judge(const annotation::ComparisonJudge& judge, const fs::path& guidelines, const std::vector<json>& comparisons,
                                const fs::path& work, const std::string& name) {
  const std::string text = guidelines.empty() ? "" : annotation::read_guidelines(guidelines);
  annotation::Judged judged = annotation::ask_judge(judge, text, comparisons, work);
  const int64_t both = judged.agreed + judged.differed;
  json said = {{"orders_differ", judged.differed},        {"ties", judged.tied},       {"unanswered", judged.unanswered},
               {"unreadable_replies", judged.unreadable}, {"cut_replies", judged.cut}, {"refused_questions", judged.refused}};
  if (both > 0) {
    said["orders_agree"] = to_json(statistics::wilson(judged.agreed, both));
    said["orders_agree"]["comparisons"] = both;
    said["first_shown_chosen"] = to_json(statistics::wilson(judged.first_shown, judged.choices));
    said["first_shown_chosen"]["replies"] = judged.choices;
    core::log_info(fmt::format(
        "{}: the judge's verdicts in both orders agree on {} of {} comparisons, {}; {} of {} replies choose the answer "
        "shown first, {}",
        name, judged.agreed, both, shown(said["orders_agree"]), judged.first_shown, judged.choices, shown(said["first_shown_chosen"])));
  }
  if (2 * judged.agreed < both)
    core::log_warn(fmt::format("{}: on more than half of the comparisons the judge's verdict depends on the order of the answers", name));
  if (judged.cut > 0)
    core::log_warn(fmt::format("{}: finish_reason \"length\" ended {} replies before a verdict; raise max_tokens ({})", name, judged.cut,
                               judge.max_tokens));
  if (const bool silent = judged.unanswered == std::ssize(comparisons); silent) annotation::forget_replies(work);
  BatchVerdicts batch{.verdicts = std::move(judged.verdicts), .counts = {{"judge", std::move(said)}}, .advice = {}};
  batch.advice = judged.differed > 0 ? fmt::format(
                                           "in {} of them the two orders of the answers get different verdicts; take another model or "
                                           "other guidelines",
                                           judged.differed)
                 : judged.tied > 0 ? "its replies choose neither answer; take another model or other guidelines"
                                   : "a judge replies with a JSON object, or in the form of \"verdict\"; the same command asks again";
  return batch;
}

BatchVerdicts verdicts_of_people(const fs::path& filled, const std::vector<json>& comparisons, const std::string& name) {
  const auto said = annotation::read_verdicts(filled, comparisons);
  BatchVerdicts batch{.verdicts = {}, .advice = "add \"choice\" and \"strength\" to its rows and give the same command again"};
  std::set<std::string> people;
  int64_t rows = 0, ties = 0, shared = 0;
  for (const auto& one : said) {
    batch.verdicts.push_back(annotation::majority(one.verdicts));
    rows += std::ssize(one.verdicts);
    shared += one.verdicts.size() > 1 ? 1 : 0;
    ties += !one.verdicts.empty() && !batch.verdicts.back() ? 1 : 0;
    people.insert(one.persons.begin(), one.persons.end());
  }
  people.erase("");
  if (people.empty()) return batch;  // one verdict a comparison, by nobody knows whom
  batch.counts["people"] = {{"persons", people.size()}, {"verdicts", rows}, {"shared", shared}, {"ties", ties}};
  core::log_info(fmt::format("{}: {} people gave {} verdicts; {} comparisons have several, of which {} are ties and left out", name,
                             people.size(), rows, shared, ties));
  if (shared == 0) return batch;
  const json agreement = people_agreement(said);
  core::log_info(fmt::format("{}: they agree with AC1 {} on the choice, and with AC2 {} on choice and strength", name,
                             shown(agreement.at("ac1")), shown(agreement.at("ac2"))));
  batch.counts["people"]["agreement"] = agreement;
  return batch;
}

}  // namespace keel::pipelines::collection
