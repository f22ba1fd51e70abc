#include "serve/dialects/fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>

namespace keel::serve::dialects {
namespace {

[[noreturn]] void refuse(const std::string& name, const std::string& must) {
  throw Refused(Trouble::invalid, fmt::format("\"{}\" must be {}", name, must));
}

const Json& required(const Json& body, const std::string& name) {
  const Json* value = member(body, name);
  if (value == nullptr) throw Refused(Trouble::invalid, fmt::format("\"{}\" is missing", name));
  return *value;
}

}  // namespace

bool has(const Json& body, const std::string& name) {
  return member(body, name) != nullptr;
}

std::string text_at(const Json& body, const std::string& name, const std::string& otherwise) {
  const Json* value = member(body, name);
  if (value == nullptr) return otherwise;
  if (!value->is_string()) refuse(name, "a string");
  return value->get<std::string>();
}

bool flag_at(const Json& body, const std::string& name, bool otherwise) {
  const Json* value = member(body, name);
  if (value == nullptr) return otherwise;
  if (!value->is_boolean()) refuse(name, "true or false");
  return value->get<bool>();
}

std::optional<int64_t> integer_at(const Json& body, const std::string& name, int64_t lowest, int64_t highest) {
  const Json* value = member(body, name);
  if (value == nullptr) return std::nullopt;
  const bool fits = value->is_number_unsigned()  ? value->get<uint64_t>() <= static_cast<uint64_t>(highest)
                    : value->is_number_integer() ? value->get<int64_t>() <= highest
                                                 : false;
  if (!fits || value->get<int64_t>() < lowest) refuse(name, fmt::format("an integer from {} to {}", lowest, highest));
  return value->get<int64_t>();
}

std::vector<std::string> texts_at(const Json& body, const std::string& name) {
  const Json& list = required(body, name);
  if (!list.is_array()) refuse(name, "a list of strings");
  std::vector<std::string> texts;
  for (const Json& one : list) {
    if (!one.is_string()) refuse(name, "a list of strings");
    texts.push_back(one.get<std::string>());
  }
  return texts;
}

std::vector<std::string> text_or_texts_at(const Json& body, const std::string& name) {
  const Json& value = required(body, name);
  if (value.is_string()) return {value.get<std::string>()};
  if (!value.is_array()) refuse(name, "a string or a list of strings");
  return texts_at(body, name);
}

core::Dialogue answered_dialogue(const Json& messages, const std::string& name) {
  if (!messages.is_array()) refuse(name, "a list of messages {\"role\", \"content\"}");
  for (const Json& message : messages)
    if (!message.is_object() || !message.contains("role") || !message.contains("content") || !message.at("content").is_string())
      refuse(name, "a list of messages {\"role\", \"content\"} whose contents are strings");
  try {
    core::Dialogue dialogue = data::parse_messages(messages, name);
    data::check_roles(dialogue);
    if (dialogue.messages.back().role == "assistant") return dialogue;
  } catch (const std::invalid_argument&) {  // its words may repeat the client's
  }
  refuse(name, "messages with the roles [system] user assistant user ... that end with an assistant turn, the answer to score");
}

core::Dialogue answered_at(const Json& body, const std::string& name) {
  return answered_dialogue(required(body, name), name);
}

core::Ids ids_of(const Json& list, const std::string& name) {
  core::Ids ids;
  for (const Json& one : list) {
    if (!one.is_number_unsigned() || one.get<uint64_t>() > INT32_MAX) refuse(name, "ids of the model's vocabulary");
    ids.push_back(one.get<int64_t>());
  }
  return ids;
}

void refuse_unsupported(const Json& body, const std::vector<std::string>& names) {
  for (const auto& name : names)
    if (const Json* value = member(body, name); value != nullptr && !value->empty())
      throw Refused(Trouble::invalid, fmt::format("\"{}\" is not supported here; leave it out", name));
}

double shortest(double score) {
  char text[32];
  const auto [end, error] = std::to_chars(text, text + sizeof text, static_cast<float>(score));
  double value = score;
  std::from_chars(text, end, value);
  return value;
}

double scaled(const Score& score, bool sigmoid) {
  return sigmoid ? 1 / (1 + std::exp(-score.raw)) : shortest(score.raw);
}

int64_t tokens_of(const Scored& scored) {
  int64_t tokens = 0;
  for (const Score& score : scored.scores)
    tokens += score.tokens;
  return tokens;
}

std::vector<size_t> ranked(const Scored& scored) {
  std::vector<size_t> order(scored.scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return scored.scores[a].raw > scored.scores[b].raw; });
  return order;
}

}  // namespace keel::serve::dialects
