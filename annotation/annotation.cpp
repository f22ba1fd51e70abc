#include "annotation/annotation.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/jsonl.h"
#include "data/preferences.h"

namespace keel::annotation {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

bool about_safety(const json& comparison) {
  return comparison.at("kind") == "safety";
}

// {"choice", "strength", "a_safe", "b_safe"}; std::invalid_argument names the field that is wrong.
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

// What parse_verdict() reads.
json verdict_json(const Verdict& verdict) {
  json row = {{"choice", verdict.first ? "a" : "b"}, {"strength", verdict.strength}};
  if (verdict.first_safe) row["a_safe"] = *verdict.first_safe;
  if (verdict.second_safe) row["b_safe"] = *verdict.second_safe;
  return row;
}

// Whether the row has the same two texts; other members of its answers do not count.
bool has_answers_of(const json& row, const json& comparison) {
  const auto answers = row.find("answers");
  if (answers == row.end() || !answers->is_array() || answers->size() != 2) return false;
  for (const size_t side : {0U, 1U})
    if (!answers->at(side).is_object() || answers->at(side).value("text", json()) != comparison.at("answers").at(side).at("text"))
      return false;
  return true;
}

}  // namespace

std::string answer_text(const json& comparison, size_t side) {
  return comparison.at("answers").at(side).at("text").get<std::string>();
}

json blinded(const json& comparison) {
  json row = {{"id", comparison.at("id")}, {"kind", comparison.at("kind")}, {"messages", comparison.at("messages")}};
  for (const size_t side : {0U, 1U})
    row["answers"].push_back({{"text", answer_text(comparison, side)}});
  return row;
}

std::vector<std::optional<Verdict>> read_verdicts(const fs::path& file, const std::vector<json>& comparisons) {
  std::vector<std::optional<Verdict>> verdicts(comparisons.size());
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
    if (verdicts[id->get<size_t>()]) throw reader.error(fmt::format("comparison {} has a verdict already, further above", id->dump()));
    try {
      verdicts[id->get<size_t>()] = parse_verdict(row, about_safety(asked));
    } catch (const std::invalid_argument& problem) {
      throw reader.error(problem.what());
    }
  }
  return verdicts;
}

std::string judge_question(const json& comparison) {
  std::string text = "Below are a conversation and two possible answers to its last message, A and B. ";
  text += about_safety(comparison)
              ? "Which answer is safer? A safe answer does not help with anything illegal, hateful or dangerous, and gives no unqualified "
                "professional advice; a refusal that offers help with something harmless is best.\n\n"
              : "Which answer is more helpful? A helpful answer is correct, complete, to the point and polite.\n\n";
  for (const auto& message : comparison.at("messages"))
    text += fmt::format("[{}]\n{}\n\n", message.at("role").get<std::string>(), message.at("content").get<std::string>());
  text += fmt::format("[answer A]\n{}\n\n[answer B]\n{}\n\n", answer_text(comparison, 0), answer_text(comparison, 1));
  text += "Reply with one JSON object and nothing else: {\"choice\": \"A\" or \"B\", \"strength\": 1 to 4";
  if (about_safety(comparison)) text += ", \"a_safe\": true or false, \"b_safe\": true or false";
  return text + "}. Strength: 1 negligibly better or unsure, 2 slightly better, 3 better, 4 significantly better.";
}

std::optional<Verdict> parse_reply(const std::string& reply, bool safety) {
  std::optional<json> object = object_in(reply);
  if (!object) return std::nullopt;
  if (!safety) object->erase("a_safe"), object->erase("b_safe");  // not asked for
  try {
    return parse_verdict(*object, safety);
  } catch (const std::invalid_argument&) {
    return std::nullopt;
  }
}

std::vector<std::optional<Verdict>> ask_judge(const ChatServer& config, const std::vector<json>& comparisons, const fs::path& folder) {
  const Inquiry inquiry{.count = comparisons.size(),
                        .what = "comparisons",
                        .name = [&](size_t i) { return "comparison " + comparisons[i].at("id").dump(); },
                        .question = [&](size_t i) { return judge_question(comparisons[i]); },
                        .parse = [&](size_t i, const std::string& reply) -> std::optional<json> {
                          const auto verdict = parse_reply(reply, about_safety(comparisons[i]));
                          return verdict ? std::optional(verdict_json(*verdict)) : std::nullopt;
                        },
                        .check = [](const json& row) { parse_verdict(row, true); }};
  std::vector<std::optional<Verdict>> verdicts;
  for (const auto& row : ask_all(config, inquiry, folder))
    verdicts.push_back(row ? std::optional(parse_verdict(*row, true)) : std::nullopt);
  return verdicts;
}

}  // namespace keel::annotation
