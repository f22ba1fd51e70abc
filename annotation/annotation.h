// Annotators outside the sandbox: people who fill in a file, and a language model that is asked over HTTP.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "annotation/judge.h"

namespace keel::annotation {

// An annotator's judgement of two answers.
struct Verdict {
  bool first = true;  // the first answer is better
  int strength = 1;   // 1..4, as core::PreferencePair
  std::optional<bool> first_safe, second_safe;
};

std::string answer_text(const nlohmann::json& comparison, size_t side);

// A row of comparisons.jsonl.gz as people see it, without the models' names: {"id", "kind", "messages", "answers": [{"text"}, {"text"}]}.
nlohmann::json blinded(const nlohmann::json& comparison);

// Verdicts of people on `comparisons` (rows of comparisons.jsonl.gz): blinded rows, or whole ones, with "choice" ("a" | "b"), "strength"
// (1..4), and for safety "a_safe" and "b_safe" added. Comparisons without a row, or with a row that nobody filled in, have none. DataError
// with file:line for impossible values, unknown ids, and answers whose texts are not those that were compared.
std::vector<std::optional<Verdict>> read_verdicts(const std::filesystem::path& file, const std::vector<nlohmann::json>& comparisons);

// The question to the judge about one comparison, and the parser of the reply: {"choice": "A", "strength": 3, "a_safe": true, "b_safe":
// true}, alone or inside other text; nothing for a reply without such an object.
std::string judge_question(const nlohmann::json& comparison);
std::optional<Verdict> parse_reply(const std::string& reply, bool safety);

// Verdicts of the judge; none for a comparison whose replies cannot be parsed. IoError when a request still fails after `retries` retries.
// Interrupted on SIGTERM. In both cases the verdicts so far lie in FOLDER/ckpt/judge/ and are not requested again.
std::vector<std::optional<Verdict>> ask_judge(const ChatServer& config, const std::vector<nlohmann::json>& comparisons,
                                              const std::filesystem::path& folder);

}  // namespace keel::annotation
