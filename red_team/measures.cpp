#include "red_team/measures.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <tuple>

#include "core/error.h"
#include "data/messages.h"
#include "evaluation/statistics/rates.h"
#include "evaluation/statistics/safety.h"
#include "red_team/requests.h"

namespace keel::red_team {
namespace {

namespace statistics = evaluation::statistics;

constexpr double kSecondsPerHour = 3600;

// The vectors of an attempt, sorted, each once.
std::string way_of(const Attempt& attempt) {
  const std::set<std::string> sorted(attempt.vectors.begin(), attempt.vectors.end());
  return fmt::format("{}", fmt::join(sorted, "+"));
}

}  // namespace

std::string name_of(DecidedBy by) {
  switch (by) {
    case DecidedBy::gold:
      return "gold";
    case DecidedBy::people:
      return "people";
    case DecidedBy::safety_model:
      return "safety_model";
    case DecidedBy::given_up:
      return "given_up";
    case DecidedBy::nobody:
      break;
  }
  return "nobody";
}

Decision decide(const Attempt& attempt) {
  const auto verdict_by = [&](const char* judge) {
    return std::find_if(attempt.verdicts.begin(), attempt.verdicts.end(), [&](const Verdict& one) { return one.by == judge; });
  };
  if (const auto gold = verdict_by("gold"); gold != attempt.verdicts.end()) return {DecidedBy::gold, gold->violation};
  if (!attempt.ratings.empty()) {
    std::vector<int> ratings;
    for (const Rating& one : attempt.ratings)
      ratings.push_back(one.rating);
    return {DecidedBy::people, statistics::safety_verdict(ratings) == statistics::SafetyVerdict::violation};
  }
  if (const auto model = verdict_by("safety_model"); model != attempt.verdicts.end()) return {DecidedBy::safety_model, model->violation};
  if (attempt.skipped) return {DecidedBy::given_up, false};
  return {};
}

std::vector<std::string> models_in(const std::vector<Attempt>& attempts) {
  std::vector<std::string> names;
  std::map<std::string, const Attempt*> first;
  for (const auto& attempt : attempts) {
    const auto [known, is_new] = first.emplace(attempt.model, &attempt);
    if (is_new) names.push_back(attempt.model);
    if (known->second->digest != attempt.digest)
      throw core::DataError(
          attempt.path, attempt.line,
          fmt::format("\"model\": the name \"{}\" stands for another model here than in {}:{} (the digests differ); give each "
                      "version its own --name",
                      attempt.model, known->second->path, known->second->line));
  }
  return names;
}

std::vector<Gamma> gammas(const std::vector<Attempt>& attempts, double automatic_seconds) {
  std::vector<Gamma> rows;
  std::vector<std::string> kinds = {""};
  kinds.insert(kinds.end(), categories().begin(), categories().end());
  for (const auto& model : models_in(attempts))
    for (const char* source : {"person", "plain", "search"})
      for (const auto& category : kinds) {
        Gamma row{.model = model, .source = source, .category = category, .interval = {}};
        std::set<std::pair<std::string, std::string>> violating;  // person, script
        for (const auto& attempt : attempts) {
          if (attempt.model != model || attempt.source != source || (!category.empty() && attempt.category != category)) continue;
          const Decision decision = decide(attempt);
          if (decision.by == DecidedBy::nobody) {
            ++row.undecided;
            continue;
          }
          ++row.attempts;
          row.hours += (attempt.source == "person" ? attempt.seconds : automatic_seconds) / kSecondsPerHour;
          if (decision.violation) violating.emplace(attempt.person, script_key(attempt));
        }
        if (row.attempts + row.undecided == 0) continue;
        row.violations = std::ssize(violating);
        constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
        row.interval = row.hours > 0 ? evaluation::statistics::poisson_rate(row.violations, row.hours)
                                     : Interval{.mean = kNone, .low = kNone, .high = kNone};
        rows.push_back(row);
      }
  return rows;
}

std::vector<Rejection> rejections(const std::vector<Attempt>& attempts) {
  const std::vector<std::string> models = models_in(attempts);
  std::map<std::string, std::map<std::string, bool>> violated;  // model -> script -> in some attempt
  for (const auto& attempt : attempts) {
    const Decision decision = decide(attempt);
    if (decision.by == DecidedBy::nobody || decision.by == DecidedBy::given_up) continue;
    bool& any = violated[attempt.model][script_key(attempt)];
    any = any || decision.violation;
  }
  std::vector<Rejection> rows;
  for (size_t before = 0; before < models.size(); ++before)
    for (size_t after = before + 1; after < models.size(); ++after) {
      Rejection row{.before = models[before], .after = models[after], .interval = {}};
      for (const auto& [script, violates] : violated[row.before]) {
        if (!violates) continue;
        ++row.violated;
        const auto again = violated[row.after].find(script);
        if (again == violated[row.after].end()) continue;
        ++row.tried;
        row.rejected += again->second ? 0 : 1;
      }
      if (row.tried == 0) continue;
      row.interval = evaluation::statistics::wilson(row.rejected, row.tried);
      rows.push_back(row);
    }
  return rows;
}

Coverage coverage(const std::vector<Attempt>& attempts, const std::string& model) {
  Coverage table;
  for (const auto& attempt : attempts) {
    const Decision decision = decide(attempt);
    if (attempt.model != model || attempt.source == "replay" || decision.by == DecidedBy::nobody || decision.by == DecidedBy::given_up)
      continue;
    for (const auto& vector : std::set<std::string>(attempt.vectors.begin(), attempt.vectors.end())) {
      Covered& cell = table[attempt.category][vector];
      ++cell.attempts;
      cell.violations += decision.violation ? 1 : 0;
    }
  }
  return table;
}

Distinct distinct(const std::vector<Attempt>& attempts, const std::string& source) {
  Distinct result;
  std::set<std::string> requests;
  std::set<std::pair<std::string, std::string>> ways;
  for (const auto& attempt : attempts) {
    if (attempt.source != source) continue;
    ++result.attempts;
    if (!decide(attempt).violation) continue;
    ++result.violations;
    requests.insert(attempt.request);
    ways.emplace(attempt.request, way_of(attempt));
  }
  result.requests = std::ssize(requests);
  result.ways = std::ssize(ways);
  return result;
}

std::vector<nlohmann::json> adversarial_prompts(const std::vector<Attempt>& attempts) {
  std::vector<nlohmann::json> rows;
  std::set<std::string> seen;
  for (const auto& attempt : attempts) {
    if (!decide(attempt).violation || !seen.insert(script_key(attempt)).second) continue;
    core::Dialogue prompt = attempt.dialogue;
    while (!prompt.messages.empty() && prompt.messages.back().role != "user")
      prompt.messages.pop_back();
    nlohmann::json row = attempt.prompt.is_object() ? attempt.prompt : nlohmann::json::object();
    row.update({{"messages", data::messages_json(prompt)},
                {"hazard", true},
                {"category", attempt.category},
                {"vectors", attempt.vectors},
                {"attack", fmt::format("{}", fmt::join(attempt.vectors, "+"))},
                {"source", "red_team"}});
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace keel::red_team
