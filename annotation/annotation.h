// Annotators outside the sandbox: what they see of a comparison, what they say of it, and what several of them come to. The judge that is
// asked over HTTP is in comparison_judge.h.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

namespace keel::annotation {

// An annotator's judgement of two answers.
struct Verdict {
  bool first = true;  // the first answer is better
  int strength = 1;   // 1..4, as core::PreferencePair; 0: not told
  std::optional<bool> first_safe, second_safe;
};

// {"choice", "strength", "a_safe", "b_safe"}; std::invalid_argument names the field that is wrong. `safety`: whether safety is compared.
Verdict parse_verdict(const nlohmann::json& row, bool safety);

// What several verdicts on one comparison come to: the answer that more than half of them (`undecided` ones, which choose neither, counted
// in) find better, with the mean strength of those that do, rounded, and each safety label that more of those who give it give than not.
// Nothing where neither answer has more than half.
std::optional<Verdict> majority(const std::vector<Verdict>& verdicts, int64_t undecided = 0);

bool about_safety(const nlohmann::json& comparison);
std::string answer_text(const nlohmann::json& comparison, size_t side);

// A row of comparisons.jsonl.gz as people see it, without the models' names: {"id", "kind", "messages", "answers": [{"text"}, {"text"}]}.
nlohmann::json blinded(const nlohmann::json& comparison);

// What people said of one comparison; `persons` beside their verdicts, "" for a row that does not say whose it is.
struct PeopleSaid {
  std::vector<Verdict> verdicts;
  std::vector<std::string> persons;
};

// Verdicts of people on `comparisons` (rows of comparisons.jsonl.gz): blinded rows, or whole ones, with "choice" ("a" | "b"), "strength"
// (1..4), and for safety "a_safe" and "b_safe" added; and "person", text or an integer, where several people judge: a comparison may then
// have one row of each. Comparisons without a row, or with rows that nobody filled in, have none. DataError with file:line for impossible
// values, unknown ids, answers whose texts are not those that were compared, a person's second row on a comparison, a further row beside
// one without "person", and two names that differ in upper and lower case alone.
std::vector<PeopleSaid> read_verdicts(const std::filesystem::path& file, const std::vector<nlohmann::json>& comparisons);

}  // namespace keel::annotation
