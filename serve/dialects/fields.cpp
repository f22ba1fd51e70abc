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

bool is_parts(const Json& value) {
  return value.is_array() && !value.empty() && value.front().is_object() && value.front().contains("type");
}

std::string text_of(const Json& value, const std::string& name) {
  if (value.is_string()) return value.get<std::string>();
  if (!is_parts(value)) refuse(name, "a string, or parts {\"type\": \"text\", \"text\"}");
  std::string text;
  for (const Json& part : value) {
    if (!part.is_object() || text_at(part, "type") != "text") {
      const std::string type = part.is_object() ? text_at(part, "type") : "";
      for (const char* known : {"image_url", "image", "input_image", "input_audio", "audio_url", "video_url", "file", "refusal"})
        if (type == known) throw Refused(Trouble::invalid, fmt::format("\"{}\" holds a part \"{}\": only text is scored", name, known));
      throw Refused(Trouble::invalid, fmt::format("\"{}\" holds a part whose \"type\" is not \"text\": only text is scored", name));
    }
    if (&part != &value.front()) text += '\n';  // as vLLM joins them
    required(part, "text");
    text += text_at(part, "text");
  }
  return text;
}

std::string prose_at(const Json& body, const std::string& name) {
  return text_of(required(body, name), name);
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
  for (const Json& one : list)
    texts.push_back(text_of(one, name));
  return texts;
}

std::vector<std::string> text_or_texts_at(const Json& body, const std::string& name) {
  const Json& value = required(body, name);
  if (value.is_string() || is_parts(value)) return {text_of(value, name)};
  if (!value.is_array()) refuse(name, "a string or a list of strings");
  return texts_at(body, name);
}

core::Dialogue dialogue_of(const Json& messages, const std::string& name) {
  if (!messages.is_array()) refuse(name, "a list of messages {\"role\", \"content\"}");
  core::Dialogue dialogue;
  for (const Json& message : messages) {
    if (!message.is_object() || !has(message, "role") || !has(message, "content"))
      refuse(name, "a list of messages {\"role\", \"content\"}");
    dialogue.messages.push_back({text_at(message, "role"), text_of(message.at("content"), "content")});
  }
  try {
    data::check_roles(dialogue);
  } catch (const std::invalid_argument&) {  // its words may repeat the client's
    refuse(name, "messages with the roles [system] user assistant user ...");
  }
  return dialogue;
}

core::Dialogue answered_dialogue(const Json& messages, const std::string& name) {
  core::Dialogue dialogue = dialogue_of(messages, name);
  if (dialogue.messages.back().role != "assistant")
    refuse(name, "messages with the roles [system] user assistant user ... that end with an assistant turn, the answer to score");
  return dialogue;
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

void read_optional_model(const Json& body, Asked& asked) {
  asked.model_optional = true;
  if (const Json* model = member(body, "model"); model != nullptr && model->is_string()) asked.model = model->get<std::string>();
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

Json usage_of(const Scored& scored) {
  const int64_t tokens = tokens_of(scored);
  return {{"prompt_tokens", tokens}, {"total_tokens", tokens}, {"completion_tokens", 0}, {"prompt_tokens_details", nullptr}};
}

std::vector<size_t> ranked(const Scored& scored) {
  std::vector<size_t> order(scored.scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return scored.scores[a].raw > scored.scores[b].raw; });
  return order;
}

}  // namespace keel::serve::dialects
