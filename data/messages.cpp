#include "data/messages.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace keel::data {

void check_roles(const core::Dialogue& dialogue) {
  const auto& messages = dialogue.messages;
  const size_t first = !messages.empty() && messages[0].role == "system" ? 1 : 0;
  if (messages.size() == first) throw std::invalid_argument("a dialogue needs at least one user turn");
  for (size_t i = first; i < messages.size(); ++i) {
    const std::string_view expected = (i - first) % 2 == 0 ? "user" : "assistant";
    if (messages[i].role != expected) {
      throw std::invalid_argument(
          fmt::format("roles must be [system] user assistant user ... in strict turn: message {} must be {}, got {}", i + 1, expected,
                      messages[i].role));
    }
  }
}

namespace {

// Whether a message is learned: its "weight".
bool parse_weight(const nlohmann::json& message, const std::string& role, const std::string& where) {
  const nlohmann::json* weight = member(message, "weight");
  if (weight == nullptr) return true;
  if (role != "assistant")
    throw std::invalid_argument(
        fmt::format("{} has a \"weight\", which only an assistant turn may have: {} turns are never learned", where, role));
  if (!weight->is_number() || (*weight != 0 && *weight != 1))
    throw std::invalid_argument(fmt::format("\"weight\" of {} must be 0 (context alone) or 1 (learned), got {}", where, weight->dump()));
  return *weight == 1;
}

}  // namespace

core::Dialogue parse_messages(const nlohmann::json& list, const std::string& field) {
  if (!list.is_array()) throw std::invalid_argument(fmt::format("\"{}\" must be a list of messages, got {}", field, list.type_name()));
  core::Dialogue dialogue;
  for (size_t i = 0; i < list.size(); ++i) {
    const nlohmann::json& message = list[i];
    const std::string where = fmt::format("message {} of \"{}\"", i + 1, field);
    if (!message.is_object()) throw std::invalid_argument(fmt::format("{} must be an object, got {}", where, message.type_name()));
    for (const char* key : {"role", "content"}) {
      const auto found = message.find(key);
      if (found == message.end()) throw std::invalid_argument(fmt::format("{} has no \"{}\"", where, key));
      if (!found->is_string())
        throw std::invalid_argument(fmt::format("\"{}\" of {} must be a string, got {}", key, where, found->type_name()));
    }
    const auto role = message["role"].get<std::string>();
    if (role != "system" && role != "user" && role != "assistant") {
      throw std::invalid_argument(fmt::format("role of {} must be system, user or assistant, got \"{}\"", where, role));
    }
    dialogue.messages.push_back({role, message["content"].get<std::string>(), parse_weight(message, role, where)});
  }
  return dialogue;
}

nlohmann::json messages_json(const core::Dialogue& dialogue) {
  nlohmann::json list = nlohmann::json::array();
  for (const core::Message& message : dialogue.messages) {
    list.push_back({{"role", message.role}, {"content", message.content}});
    if (!message.learned) list.back()["weight"] = 0;
  }
  return list;
}

void learn_all_answers_(core::Dialogue& dialogue) {
  for (core::Message& message : dialogue.messages)
    message.learned = true;
}

void learn_no_answer_(core::Dialogue& dialogue) {
  for (core::Message& message : dialogue.messages)
    message.learned = message.role != "assistant";
}

void learn_last_answer_(core::Dialogue& dialogue) {
  learn_no_answer_(dialogue);
  dialogue.messages.back().learned = true;
}

bool learns_an_answer(const core::Dialogue& dialogue) {
  return std::any_of(dialogue.messages.begin(), dialogue.messages.end(),
                     [](const core::Message& message) { return message.role == "assistant" && message.learned; });
}

const nlohmann::json* member(const nlohmann::json& row, const std::string& name) {
  const auto found = row.find(name);
  return found == row.end() || found->is_null() ? nullptr : &*found;
}

std::string required_text(const nlohmann::json& row, const std::string& name) {
  const nlohmann::json* found = member(row, name);
  if (found == nullptr) throw std::invalid_argument(fmt::format("the row has no \"{}\"", name));
  if (!found->is_string()) throw std::invalid_argument(fmt::format("\"{}\" must be a string, got {}", name, found->type_name()));
  return found->get<std::string>();
}

std::string optional_text(const nlohmann::json& row, const std::string& name) {
  return member(row, name) == nullptr ? "" : required_text(row, name);
}

std::string required_name(const nlohmann::json& row, const std::string& name) {
  std::string value = optional_name(row, name);
  if (value.empty()) throw std::invalid_argument(fmt::format("the row has no \"{}\"", name));
  return value;
}

std::string optional_name(const nlohmann::json& row, const std::string& name) {
  const nlohmann::json* found = member(row, name);
  if (found != nullptr && !found->is_string() && !found->is_number_integer())
    throw std::invalid_argument(fmt::format("\"{}\" must be a string or an integer, got {}", name, found->dump()));
  return found != nullptr && found->is_number_integer() ? found->dump() : optional_text(row, name);
}

}  // namespace keel::data
