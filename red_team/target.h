// The model under attack, as functions: a model folder and a server look alike, and no test needs either.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "annotation/chat_client.h"
#include "core/types.h"

namespace keel::red_team {

struct Question {
  core::Dialogue dialogue;  // ends with a user turn
  uint64_t record = 0;      // key of the answer's random draws
};

struct Target {
  std::string name, digest;                            // Attempt::model and Attempt::digest
  nlohmann::json settings = nlohmann::json::object();  // how it answers (sampling), for the log
  // The answers, in order; a server's refusal of one question is no answer of the model. core::IoError when a server says nothing at all.
  std::function<std::vector<annotation::ChatReply>(const std::vector<Question>&)> ask;
  // Throws std::invalid_argument for a dialogue that the model cannot be asked: tags of its chat format in a turn, too many tokens.
  std::function<void(const core::Dialogue&)> check = [](const core::Dialogue&) {};
};

// Probability that the last answer of each dialogue is safe, in [0, 1].
using SafetyScore = std::function<std::vector<double>(const std::vector<core::Dialogue>&)>;

// Turns of an attempt have records of their own: no attempt has this many user turns.
inline constexpr uint64_t kMostTurns = 64;

}  // namespace keel::red_team
