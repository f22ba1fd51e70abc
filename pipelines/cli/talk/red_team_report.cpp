#include "pipelines/cli/talk/red_team_report.h"

#include <fmt/format.h>

#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "core/jsonl.h"
#include "evaluation/statistics/json.h"
#include "evaluation/text_table.h"
#include "red_team/attacks.h"
#include "red_team/measures.h"

namespace keel::pipelines::cli::talk {
namespace {

using evaluation::Cell;
using evaluation::ColumnKind;
using evaluation::Table;
using nlohmann::json;

Cell count_cell(int64_t count) {
  return {fmt::format("{}", count)};
}

Table gamma_table(const std::vector<red_team::Gamma>& gammas) {
  Table table{.title = "Violating prompts per person-hour",
              .columns = {{"model"},
                          {"source"},
                          {"category"},
                          {"attempts", ColumnKind::number},
                          {"undecided", ColumnKind::number},
                          {"violations", ColumnKind::number},
                          {"hours", ColumnKind::number},
                          {"gamma", ColumnKind::number}},
              .rows = {},
              .note = {}};
  for (const auto& row : gammas)
    table.rows.push_back({row.model, row.source, row.category.empty() ? "all" : row.category, count_cell(row.attempts),
                          count_cell(row.undecided), count_cell(row.violations), evaluation::number_cell(row.hours),
                          row.hours > 0 ? evaluation::interval_cell(row.interval) : Cell("-")});
  return table;
}

Table rejection_table(const std::vector<red_team::Rejection>& rejections) {
  Table table{.title = "Earlier violations that a later version rejects",
              .columns = {{"violated on"},
                          {"asked on"},
                          {"violated", ColumnKind::number},
                          {"asked again", ColumnKind::number},
                          {"rejected", ColumnKind::number},
                          {"share", ColumnKind::number}},
              .rows = {},
              .note = {}};
  for (const auto& row : rejections)
    table.rows.push_back({row.before, row.after, count_cell(row.violated), count_cell(row.tried), count_cell(row.rejected),
                          evaluation::interval_cell(row.interval)});
  return table;
}

Table coverage_table(const std::string& model, const red_team::Coverage& coverage) {
  Table table{.title = fmt::format("Coverage of {}: violations of attempts", model), .columns = {{"category"}}, .rows = {}, .note = {}};
  for (const auto& vector : red_team::vectors())
    table.columns.push_back({vector, ColumnKind::number});
  for (const auto& [category, cells] : coverage) {
    std::vector<Cell> row = {category};
    for (const auto& vector : red_team::vectors()) {
      const auto found = cells.find(vector);
      row.emplace_back(found == cells.end() ? "-" : fmt::format("{} of {}", found->second.violations, found->second.attempts));
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

std::map<std::string, int64_t> deciders(const std::vector<red_team::Attempt>& attempts) {
  std::map<std::string, int64_t> counts;
  for (const auto& attempt : attempts)
    ++counts[red_team::name_of(red_team::decide(attempt).by)];
  return counts;
}

std::string decider_line(const std::map<std::string, int64_t>& counts) {
  std::string text;
  for (const auto& [by, count] : counts)
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", by, count);
  return text;
}

}  // namespace

json distinct_row(const std::string& source, const red_team::Target& target, const std::vector<red_team::Attempt>& attempts,
                  int64_t refused) {
  std::vector<red_team::Attempt> own;
  int64_t answers = 0;
  for (const auto& attempt : attempts) {
    if (attempt.source != source || attempt.digest != target.digest) continue;
    if (attempt.verdicts.empty()) continue;  // a kill came before its judgement, so that it was made again
    own.push_back(attempt);
    answers += static_cast<int64_t>(attempt.dialogue.messages.size() / 2);
  }
  const red_team::Distinct found = red_team::distinct(own, source);
  return {{"source", source},
          {"model", target.name},
          {"decided_by", deciders(own)},
          {"attempts", found.attempts},
          {"answers", answers},
          {"not_asked", refused},
          {"violations", found.violations},
          {"distinct_requests", found.requests},
          {"distinct_violations", found.ways}};
}

void write_red_team_report(const std::vector<red_team::Attempt>& attempts, double attempt_seconds, const std::string& out) {
  const auto models = red_team::models_in(attempts);
  const auto gammas = red_team::gammas(attempts, attempt_seconds);
  const auto rejections = red_team::rejections(attempts);
  core::JsonlWriter writer(out);
  writer.write({{"kind", "decided_by"}, {"attempts", deciders(attempts)}});
  for (const auto& row : gammas)
    writer.write({{"kind", "gamma"},
                  {"model", row.model},
                  {"source", row.source},
                  {"category", row.category},
                  {"attempts", row.attempts},
                  {"undecided", row.undecided},
                  {"violations", row.violations},
                  {"hours", row.hours},
                  {"gamma", evaluation::statistics::to_json(row.interval)}});
  for (const auto& row : rejections)
    writer.write({{"kind", "rejection"},
                  {"before", row.before},
                  {"after", row.after},
                  {"violated", row.violated},
                  {"asked", row.tried},
                  {"rejected", row.rejected},
                  {"rate", evaluation::statistics::to_json(row.interval)}});
  std::string text = evaluation::render_text(gamma_table(gammas));
  if (!rejections.empty()) text += "\n" + evaluation::render_text(rejection_table(rejections));
  for (const auto& model : models) {
    const auto covered = red_team::coverage(attempts, model);
    for (const auto& [category, cells] : covered)
      for (const auto& [vector, cell] : cells)
        writer.write({{"kind", "coverage"},
                      {"model", model},
                      {"category", category},
                      {"vector", vector},
                      {"attempts", cell.attempts},
                      {"violations", cell.violations}});
    if (!covered.empty()) text += "\n" + evaluation::render_text(coverage_table(model, covered));
  }
  text += fmt::format("\nWho decided: {}\n", decider_line(deciders(attempts)));
  std::fputs(text.c_str(), stderr);
  writer.commit();
}

}  // namespace keel::pipelines::cli::talk
