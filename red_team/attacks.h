// Attacks as transforms of a request (Llama 2 paper, 4.2 and 4.3): each puts it in other words, and one can follow another.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "red_team/requests.h"

namespace keel::red_team {

// The attack vectors: the paper's six ("foreign" is its non-English one), "other", and "none" for a request as it stands.
const std::vector<std::string>& vectors();

// What the user says, turn by turn. One of the turns holds the request.
struct Script {
  std::vector<std::string> turns;
  size_t request = 0;  // index of that turn
  bool operator==(const Script&) const = default;
};

struct Attack {
  std::string vector;
  std::string name;                                      // shown to people
  std::function<Script(Script, const Request&)> change;  // gives the script back as it was where it does not apply
};

// An attack that puts the request's turn into the one slot "{prompt}" of `turns`; the other turns go before and after it. Throws
// std::invalid_argument for an unknown vector, a blank turn, and none or several slots.
Attack template_attack(const std::string& vector, std::vector<std::string> turns);

// Built-in attacks in English, some of several turns: at least two for each of the paper's vectors. None is translated: a "foreign" one
// asks for an answer in another language.
const std::vector<Attack>& english_attacks();

// The sandbox's own, in the words of its models: the first three templates of each style. The fourth is left to the test prompts.
const std::vector<Attack>& sandbox_attacks();

// Attacks of one's own: rows {"vector", "template"} or {"vector", "turns": [...]}. DataError with file:line for what template_attack()
// refuses, and for a file without attacks.
std::vector<Attack> read_attacks(const std::filesystem::path& file);

// The request after all of `attacks`, the first one first; nothing where one of them does not apply.
std::optional<Script> disguised(const Request& request, const std::vector<const Attack*>& attacks);

}  // namespace keel::red_team
