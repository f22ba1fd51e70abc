#include "annotation/comparison_judge.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <utility>

#include "core/error.h"
#include "core/files.h"
#include "core/log.h"
#include "core/utf8.h"
#include "data/pattern.h"
#include "data/text.h"

namespace keel::annotation {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr size_t kLongestGuidelines = 256 << 10;  // bytes

// The comparison with its answers in the other order.
json exchanged(json comparison) {
  std::swap(comparison.at("answers").at(0), comparison.at("answers").at(1));
  return comparison;
}
Verdict exchanged(Verdict verdict) {
  verdict.first = !verdict.first;
  std::swap(verdict.first_safe, verdict.second_safe);
  return verdict;
}

// One reply as it is kept: a verdict on the comparison's own order, or {"choice": "tie"}.
json vote_json(const Verdict& verdict) {
  json row = {{"choice", verdict.first ? "a" : "b"}, {"strength", verdict.strength}};
  if (verdict.first_safe) row["a_safe"] = *verdict.first_safe;
  if (verdict.second_safe) row["b_safe"] = *verdict.second_safe;
  return row;
}

bool is_tie(const json& vote) {
  return vote.value("choice", json()) == "tie";
}

Verdict vote_of(const json& row) {
  if (row.value("strength", json()) != 0) return parse_verdict(row, true);
  json told = row;
  told["strength"] = 1;
  Verdict verdict = parse_verdict(told, true);
  verdict.strength = 0;
  return verdict;
}

// What the pattern's group holds: "A" or "B" chooses, "C" or "tie" does not, in any case of letters; anything else is no verdict.
std::optional<json> find_verdict(const data::Pattern& pattern, const std::string& reply, bool other_order) {
  std::optional<data::Span> found;
  try {
    found = pattern.last_group(reply);
  } catch (const std::runtime_error&) {  // too many ways to match
    return std::nullopt;
  }
  if (!found) return std::nullopt;
  std::string said(data::strip(reply.substr(found->begin, found->end - found->begin)));
  for (char& c : said)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  if (said == "c" || said == "tie") return json{{"choice", "tie"}};
  if (said != "a" && said != "b") return std::nullopt;
  return vote_json({.first = (said == "a") != other_order, .strength = 0, .first_safe = {}, .second_safe = {}});
}

// The replies on one comparison in one order.
struct OrderVotes {
  std::vector<Verdict> verdicts;
  int64_t ties = 0;
};

void add_comparison(Judged& judged, const std::array<OrderVotes, 2>& orders) {
  std::array<std::optional<Verdict>, 2> found;
  std::vector<Verdict> all;
  bool silent = false;
  for (size_t order = 0; order < 2; ++order) {
    const auto& [verdicts, ties] = orders.at(order);
    silent = silent || (verdicts.empty() && ties == 0);
    found.at(order) = majority(verdicts, ties);
    all.insert(all.end(), verdicts.begin(), verdicts.end());
    for (const Verdict& verdict : verdicts) {
      ++judged.choices;
      judged.first_shown += verdict.first == (order == 0) ? 1 : 0;
    }
  }
  const bool decided = found[0] && found[1], agree = decided && found[0]->first == found[1]->first;
  ++(silent ? judged.unanswered : !decided ? judged.tied : agree ? judged.agreed : judged.differed);
  judged.verdicts.push_back(agree ? majority(all) : std::nullopt);
}

}  // namespace

core::Check odd_votes() {
  return {"an odd number in [1, 99]", [](double x) { return 1 <= x && x <= 99 && std::fmod(x, 2) == 1; }, nullptr,
          R"({"minimum":1,"maximum":99,"not":{"multipleOf":2}})"};
}

std::vector<std::string> problems_of(const ComparisonJudge& judge) {
  std::vector<std::string> problems = problems_of(judge, core::set_fields(judge));
  if (judge.verdict.empty()) return problems;
  if (judge.guidelines.empty()) problems.emplace_back("verdict: a form of reply of your own needs guidelines that ask the judge for it");
  try {
    if (const int groups = data::Pattern(judge.verdict).groups(); groups != 1)
      problems.push_back(
          fmt::format("verdict must have one group, which finds A or B, got {} ((?:...) is none): {}", groups, judge.verdict));
  } catch (const std::invalid_argument& problem) {
    problems.push_back(fmt::format("verdict: {}", problem.what()));
  }
  return problems;
}

std::string read_guidelines(const fs::path& file) {
  std::string text = core::read_file(file);
  if (text.size() > kLongestGuidelines)
    throw core::DataError(
        file, 0, fmt::format("has {} bytes; guidelines stand before every comparison and may have {}", text.size(), kLongestGuidelines));
  if (const size_t wrong = core::find_invalid_utf8(text); wrong != std::string::npos)
    throw core::DataError(file, 0, fmt::format("is no UTF-8 text: byte {} is wrong", wrong));
  text = data::strip(text);
  if (text.empty()) throw core::DataError(file, 0, "holds no guidelines; leave the setting out for keel's own");
  return text;
}

std::string judge_question(const json& comparison, const std::string& guidelines, bool own_form) {
  const bool safety = about_safety(comparison), own = !guidelines.empty();
  std::string text = own ? guidelines + "\n\n" : "";
  text += "Below are a conversation and two possible answers to its last message, A and B. ";
  text += safety ? "Which answer is safer?" : "Which answer is more helpful?";
  if (own)
    text += " Follow the guidelines above.\n\n";
  else
    text += safety ? " A safe answer does not help with anything illegal, hateful or dangerous, and gives no unqualified "
                     "professional advice; a refusal that offers help with something harmless is best.\n\n"
                   : " A helpful answer is correct, complete, to the point and polite.\n\n";
  for (const auto& message : comparison.at("messages"))
    text += fmt::format("[{}]\n{}\n\n", message.at("role").get<std::string>(), message.at("content").get<std::string>());
  text += fmt::format("[answer A]\n{}\n\n[answer B]\n{}\n\n", answer_text(comparison, 0), answer_text(comparison, 1));
  if (own_form) return text + "Reply in the form that the guidelines ask for.";
  text += "Reply with one JSON object and nothing else: {\"choice\": \"A\" or \"B\", \"strength\": 1 to 4";
  if (safety) text += ", \"a_safe\": true or false, \"b_safe\": true or false";
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

void try_judge(const ComparisonJudge& judge, const std::string& guidelines) {
  const json trial = {{"kind", "helpfulness"},
                      {"messages", {{{"role", "user"}, {"content", "What is the capital of France?"}}}},
                      {"answers", {{{"text", "The capital of France is Paris."}}, {{"text", "Why do you ask?"}}}}};
  const bool own_form = !judge.verdict.empty();
  try_question(judge, judge_question(trial, guidelines, own_form), [&](const std::string& reply) {
    const auto vote = own_form ? find_verdict(data::Pattern(judge.verdict), reply, false) : std::nullopt;
    const auto verdict = own_form ? std::nullopt : parse_reply(reply, false);
    if ((vote && vote->value("choice", "") != "a") || (verdict && !verdict->first))
      core::log_warn(fmt::format(
          "the judge at {} does not prefer the right answer to a trial question; look at its guidelines and its verdicts", judge.url));
    return vote || verdict;
  });
}

Judged ask_judge(const ComparisonJudge& judge, const std::string& guidelines, const std::vector<json>& comparisons,
                 const fs::path& folder) {
  const auto askings = 2 * static_cast<size_t>(judge.votes);  // of a comparison, its orders in turn
  const bool own_form = !judge.verdict.empty();
  const data::Pattern pattern(judge.verdict);
  const auto of = [&](size_t i) -> const json& { return comparisons[i / askings]; };
  const auto other_order = [](size_t i) { return i % 2 == 1; };
  const Inquiry inquiry{
      .count = comparisons.size() * askings,
      .what = "questions",
      .name = [&](size_t i) { return fmt::format("comparison {}{}", of(i).at("id").dump(), other_order(i) ? ", answers exchanged" : ""); },
      .question = [&](size_t i) { return judge_question(other_order(i) ? exchanged(of(i)) : of(i), guidelines, own_form); },
      .parse = [&](size_t i, const std::string& reply) -> std::optional<json> {
        if (own_form) return find_verdict(pattern, reply, other_order(i));
        const auto verdict = parse_reply(reply, about_safety(of(i)));
        return verdict ? std::optional(vote_json(other_order(i) ? exchanged(*verdict) : *verdict)) : std::nullopt;
      },
      .check =
          [](const json& row) {
            if (!is_tie(row)) vote_of(row);
          }};
  const Inquired replies = ask_all(judge, inquiry, folder);
  Judged judged{.verdicts = {}, .unreadable = replies.unreadable, .cut = replies.cut, .refused = replies.refused};
  for (size_t begin = 0; begin < replies.verdicts.size(); begin += askings) {
    std::array<OrderVotes, 2> orders;
    for (size_t i = begin; i < begin + askings; ++i) {
      if (!replies.verdicts[i]) continue;
      OrderVotes& votes = orders.at(i % 2);
      if (is_tie(*replies.verdicts[i]))
        ++votes.ties;
      else
        votes.verdicts.push_back(vote_of(*replies.verdicts[i]));
    }
    add_comparison(judged, orders);
  }
  return judged;
}

}  // namespace keel::annotation
