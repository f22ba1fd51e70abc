// A judge that tells whether answers follow an instruction, for instructions that no program can check ("act as Napoleon").
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "annotation/judge.h"

namespace keel::annotation {

struct InstructedAnswer {
  std::string instruction, question, answer;  // the question is the user's last message
};

// The verdict on each; nothing for a reply without one, and where the server refuses the question. Errors, the folder and the file of
// requests as ask_all().
std::vector<std::optional<bool>> judge_obedience(const JudgeServer& judge, const std::vector<InstructedAnswer>& answers,
                                                 const std::filesystem::path& folder, const std::filesystem::path& requests = {});

// Asks about one answer whose verdict is plain, see try_question().
void try_obedience_judge(const JudgeServer& judge);

// What the judge is asked, and the verdict in its reply: the boolean "follows" of its first JSON object.
std::string obedience_question(const InstructedAnswer& answer);
std::optional<bool> parse_obedience_reply(const std::string& reply);

}  // namespace keel::annotation
