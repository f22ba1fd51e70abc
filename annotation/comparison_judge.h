// A language model that compares two answers, asked in both orders: one that prefers a side, whatever stands there, decides nothing.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "annotation/annotation.h"
#include "annotation/judge.h"

namespace keel::annotation {

struct ComparisonJudge : JudgeServer {
  std::string guidelines;  // file
  int64_t votes = 1;
  std::string verdict;  // pattern
};

core::Check odd_votes();

inline void visit(ComparisonJudge& judge, core::Fields& fields) {
  visit(static_cast<JudgeServer&>(judge), fields);
  fields("guidelines", judge.guidelines,
         "text file with your own guidelines, put before each comparison in place of keel's words on what is better; empty = keel's",
         core::unkeyed());
  fields("votes", judge.votes,
         "askings of a comparison in each of its two orders, of which the majority counts; above 1 they want a temperature above 0",
         core::unkeyed_at("1", odd_votes()));
  fields(
      "verdict", judge.verdict,
      "regular expression (PCRE2) whose one group is A, B, C or tie where it last matches in a reply; guidelines must ask for that form. "
      "Empty = keel's JSON object, which also tells strength and safety",
      core::unkeyed_at("\"\""));
}

// Those of a JudgeServer; a pattern that cannot be compiled, has another number of groups than one, or comes without guidelines.
std::vector<std::string> problems_of(const ComparisonJudge& judge);

// What a guidelines file says. UsageError for a missing one, DataError for one that is blank, no UTF-8, or longer than 256 KiB.
std::string read_guidelines(const std::filesystem::path& file);

// The question about one comparison. `guidelines` "": keel's own words. `own_form`: the guidelines ask for a form of reply.
std::string judge_question(const nlohmann::json& comparison, const std::string& guidelines = {}, bool own_form = false);

// The parser of keel's own form: {"choice": "A", "strength": 3, "a_safe": true, "b_safe": true}, alone or inside other text; nothing for a
// reply without such an object.
std::optional<Verdict> parse_reply(const std::string& reply, bool safety);

// Asks about one comparison whose verdict is plain, see try_question(). `guidelines`: the text.
void try_judge(const ComparisonJudge& judge, const std::string& guidelines);

// A batch of comparisons, as the judge sees it. Each is one of the first four.
struct Judged {
  std::vector<std::optional<Verdict>> verdicts;  // where both orders agree
  int64_t agreed = 0, differed = 0;              // comparisons on which the majorities of the two orders do and do not agree
  int64_t tied = 0;                              // with an order without a majority
  int64_t unanswered = 0;                        // with an order of which no reply can be read
  int64_t choices = 0, first_shown = 0;          // replies that choose; those for the answer that was shown first
  int64_t unreadable = 0, cut = 0, refused = 0;  // replies without a verdict, as Inquired
};

// Asks for every comparison `votes` times in each order. `guidelines`: the text. The strength is the mean of all replies that choose the
// better answer, rounded (0 with a pattern, which tells none); a safety label is what most of the replies say. Errors and the folder as
// ask_all().
Judged ask_judge(const ComparisonJudge& judge, const std::string& guidelines, const std::vector<nlohmann::json>& comparisons,
                 const std::filesystem::path& folder);

}  // namespace keel::annotation
