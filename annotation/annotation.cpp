#include "annotation/annotation.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "annotation/raters.h"
#include "core/error.h"
#include "core/jsonl.h"
#include "data/messages.h"
#include "data/preferences.h"

namespace keel::annotation {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// Whether the row has the same two texts; other members of its answers do not count.
bool has_answers_of(const json& row, const json& comparison) {
  const auto answers = row.find("answers");
  if (answers == row.end() || !answers->is_array() || answers->size() != 2) return false;
  for (const size_t side : {0U, 1U})
    if (!answers->at(side).is_object() || answers->at(side).value("text", json()) != comparison.at("answers").at(side).at("text"))
      return false;
  return true;
}

// One more person's row on a comparison.
void add_verdict(PeopleSaid& said, const json& row, bool safety, Raters& raters, const std::string& place) {
  const std::string person = rater_name(data::optional_name(row, "person"));
  if (!said.verdicts.empty() && (person.empty() || std::ranges::count(said.persons, "") > 0))
    throw std::invalid_argument(
        fmt::format("comparison {} has a verdict already, further above; where several people judge, each of their rows must say whose it "
                    "is (\"person\")",
                    row.at("id").dump()));
  if (std::ranges::count(said.persons, person) > 0)
    throw std::invalid_argument(fmt::format("\"{}\" has judged comparison {} already, further above", person, row.at("id").dump()));
  if (!person.empty()) raters.add(person, place);
  said.verdicts.push_back(parse_verdict(row, safety));
  said.persons.push_back(person);
}

}  // namespace

Verdict parse_verdict(const json& row, bool safety) {
  const auto choice = row.find("choice");
  const std::string chosen = choice != row.end() && choice->is_string() ? choice->get<std::string>() : "";
  if (chosen != "a" && chosen != "b" && chosen != "A" && chosen != "B")
    throw std::invalid_argument(fmt::format("\"choice\" must be \"a\" or \"b\", got {}", choice == row.end() ? "nothing" : choice->dump()));
  const Verdict verdict = {.first = chosen == "a" || chosen == "A",
                           .strength = data::parse_strength(row),
                           .first_safe = data::parse_label(row, "a_safe"),
                           .second_safe = data::parse_label(row, "b_safe")};
  if (verdict.strength == 0)
    throw std::invalid_argument("\"strength\" is missing beside \"choice\": 1 (negligibly better) .. 4 (significantly)");
  if (!safety && (verdict.first_safe || verdict.second_safe))
    throw std::invalid_argument(fmt::format("\"{}\" is for safety comparisons; helpfulness pairs carry no safety labels",
                                            verdict.first_safe ? "a_safe" : "b_safe"));
  return verdict;
}

std::optional<Verdict> majority(const std::vector<Verdict>& verdicts, int64_t undecided) {
  const auto all = std::ssize(verdicts) + undecided, first = std::ranges::count(verdicts, true, &Verdict::first);
  const bool chosen = 2 * first > all;
  if (!chosen && 2 * (std::ssize(verdicts) - first) <= all) return std::nullopt;
  Verdict common{.first = chosen, .strength = 0, .first_safe = {}, .second_safe = {}};
  int64_t strengths = 0, told = 0;
  for (const Verdict& one : verdicts)
    if (one.first == chosen && one.strength > 0) strengths += one.strength, ++told;
  if (told > 0) common.strength = static_cast<int>((2 * strengths + told) / (2 * told));
  for (const auto label : {&Verdict::first_safe, &Verdict::second_safe}) {
    const auto safe = std::ranges::count(verdicts, std::optional(true), label),
               unsafe = std::ranges::count(verdicts, std::optional(false), label);
    if (safe != unsafe) common.*label = safe > unsafe;
  }
  return common;
}

bool about_safety(const json& comparison) {
  return comparison.at("kind") == "safety";
}

std::string answer_text(const json& comparison, size_t side) {
  return comparison.at("answers").at(side).at("text").get<std::string>();
}

json blinded(const json& comparison) {
  json row = {{"id", comparison.at("id")}, {"kind", comparison.at("kind")}, {"messages", comparison.at("messages")}};
  for (const size_t side : {0U, 1U})
    row["answers"].push_back({{"text", answer_text(comparison, side)}});
  return row;
}

std::vector<PeopleSaid> read_verdicts(const fs::path& file, const std::vector<json>& comparisons) {
  std::vector<PeopleSaid> said(comparisons.size());
  Raters raters;
  core::JsonlReader reader(file);
  for (json row; reader.next(row);) {
    if (!row.contains("choice") || row["choice"].is_null()) continue;
    const auto id = row.find("id");
    if (id == row.end() || !id->is_number_unsigned() || id->get<size_t>() >= comparisons.size())
      throw reader.error(fmt::format("\"id\" must be one of the comparison file, 0..{}, got {}", comparisons.size() - 1,
                                     id == row.end() ? "nothing" : id->dump()));
    const json& asked = comparisons[id->get<size_t>()];
    if (!has_answers_of(row, asked))
      throw reader.error(
          fmt::format("\"answers\" are not those of comparison {}: fill in the file that the comparisons stage wrote", id->dump()));
    try {
      add_verdict(said[id->get<size_t>()], row, about_safety(asked), raters, fmt::format("{}:{}", reader.path(), reader.line()));
    } catch (const std::invalid_argument& problem) {
      throw reader.error(problem.what());
    }
  }
  return said;
}

}  // namespace keel::annotation
