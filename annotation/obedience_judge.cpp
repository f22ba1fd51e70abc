#include "annotation/obedience_judge.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "annotation/judge.h"
#include "data/messages.h"

namespace keel::annotation {

using nlohmann::json;

std::string obedience_question(const InstructedAnswer& answer) {
  return fmt::format(
      "A chat assistant was given an instruction that holds for all of its answers. Below are the instruction, a message that the user "
      "sent later and the assistant's answer to it. Does the answer follow the instruction? Judge this alone, not whether the answer is "
      "right.\n\n[instruction]\n{}\n\n[user]\n{}\n\n[answer]\n{}\n\n"
      "Reply with one JSON object and nothing else: {{\"follows\": true}} or {{\"follows\": false}}.",
      answer.instruction, answer.question, answer.answer);
}

std::optional<bool> parse_obedience_reply(const std::string& reply) {
  const auto object = object_in(reply);
  const json* follows = object ? data::member(*object, "follows") : nullptr;
  return follows != nullptr && follows->is_boolean() ? std::optional(follows->get<bool>()) : std::nullopt;
}

void try_obedience_judge(const JudgeServer& judge) {
  try_question(
      judge,
      obedience_question({.instruction = "Answer in French.", .question = "Where is the sun?", .answer = "Le soleil est dans le ciel."}),
      [](const std::string& reply) { return parse_obedience_reply(reply).has_value(); });
}

std::vector<std::optional<bool>> judge_obedience(const JudgeServer& judge, const std::vector<InstructedAnswer>& answers,
                                                 const std::filesystem::path& folder, const std::filesystem::path& requests) {
  const Inquiry inquiry{.count = answers.size(),
                        .what = "answers",
                        .name = [&](size_t i) { return fmt::format("the answer to \"{}\"", answers[i].question); },
                        .question = [&](size_t i) { return obedience_question(answers[i]); },
                        .parse = [](size_t, const std::string& reply) -> std::optional<json> {
                          const auto follows = parse_obedience_reply(reply);
                          if (!follows) return std::nullopt;
                          return json::object({{"follows", *follows}});
                        },
                        .check =
                            [](const json& row) {
                              if (!parse_obedience_reply(row.dump())) throw std::invalid_argument("holds no boolean \"follows\"");
                            }};
  std::vector<std::optional<bool>> verdicts;
  for (const auto& reply : ask_all(judge, inquiry, folder, requests).verdicts)
    verdicts.push_back(reply ? std::optional(reply->at("follows").get<bool>()) : std::nullopt);
  return verdicts;
}

}  // namespace keel::annotation
