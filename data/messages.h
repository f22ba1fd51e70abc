// Dialogues as JSON message lists, and the one shape that a dialogue may have: an optional system turn, then user and assistant in turn.
//
// Functions here throw std::invalid_argument for invalid values; with_place() adds file and line.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <stdexcept>
#include <string>
#include <utility>

#include "core/error.h"
#include "core/types.h"

namespace keel::data {

// Throws unless the roles are [system] user assistant user ...; a dialogue needs at least one user turn.
void check_roles(const core::Dialogue& dialogue);

// [{"role","content"}, ...]; an assistant turn may have a "weight" of 0 (context alone) or 1 (learned, as without one), as in OpenAI's
// format for fine-tuning. Other keys of a message are ignored. Checks types and the three known roles, not their order: a TRL "chosen" is
// an assistant turn alone. `field` names the list in errors.
core::Dialogue parse_messages(const nlohmann::json& list, const std::string& field);
nlohmann::json messages_json(const core::Dialogue& dialogue);  // the list that parse_messages reads

// Makes every answer learned, as without "weight": for dialogues that are read and not trained on as they are.
void learn_all_answers_(core::Dialogue& dialogue);

// Makes every answer context alone; the second keeps the last message learned.
void learn_no_answer_(core::Dialogue& dialogue);
void learn_last_answer_(core::Dialogue& dialogue);
bool learns_an_answer(const core::Dialogue& dialogue);

// Member `name` of a row; nullptr where it is missing or null: tables written as JSON lines give every row all columns.
const nlohmann::json* member(const nlohmann::json& row, const std::string& name);

// Fields of a row. The first throws when `name` is missing or no string; the second gives "" when it is missing or null.
std::string required_text(const nlohmann::json& row, const std::string& name);
std::string optional_text(const nlohmann::json& row, const std::string& name);

// A name that may be written as an integer too: 7 is "7". The first throws when it is missing or empty, the second gives "".
std::string required_name(const nlohmann::json& row, const std::string& name);
std::string optional_name(const nlohmann::json& row, const std::string& name);

// Runs `work`, turning std::invalid_argument into a DataError that names the place.
template <class Work>
auto with_place(const std::string& path, int64_t line, Work&& work) {
  try {
    return std::forward<Work>(work)();
  } catch (const std::invalid_argument& error) {
    throw core::DataError(path, line, error.what());
  }
}

}  // namespace keel::data
