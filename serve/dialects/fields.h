// Typed members of a request's body. Each function throws Refused, which names the member and never repeats its value.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "data/messages.h"
#include "serve/dialects/asked.h"

namespace keel::serve::dialects {

using Json = nlohmann::json;

using data::member;  // nullptr where it is missing or null
bool has(const Json& body, const std::string& name);

std::string text_at(const Json& body, const std::string& name, const std::string& otherwise = {});
bool flag_at(const Json& body, const std::string& name, bool otherwise);
std::optional<int64_t> integer_at(const Json& body, const std::string& name, int64_t lowest, int64_t highest);

// A text: a string, or OpenAI's content parts, [{"type": "text", "text"}], whose texts are joined by line breaks as vLLM does.
bool is_parts(const Json& value);
inline bool is_list(const Json& value) {  // of texts, ids or lists
  return value.is_array() && !is_parts(value);
}
std::string text_of(const Json& value, const std::string& name);

// The member must be there.
std::string prose_at(const Json& body, const std::string& name);                       // a text
std::vector<std::string> texts_at(const Json& body, const std::string& name);          // a list of texts
std::vector<std::string> text_or_texts_at(const Json& body, const std::string& name);  // or one text
core::Dialogue answered_at(const Json& body, const std::string& name);                 // messages that end with an assistant turn
core::Ids ids_of(const Json& list, const std::string& name);

// Members of a message but "role" and "content" are not read.
core::Dialogue dialogue_of(const Json& messages, const std::string& name);  // [system] user assistant user ...
core::Dialogue answered_dialogue(const Json& messages, const std::string& name);

// "model" in forms that do not have it, or mean another by it: read where it names a model that is served.
void read_optional_model(const Json& body, Asked& asked);

// Members that would change the result, and that the service does not know.
void refuse_unsupported(const Json& body, const std::vector<std::string>& names);

double shortest(double score);  // that of the float32 that it came from: 0.1, not 0.10000000149011612
double scaled(const Score& score, bool sigmoid);
int64_t tokens_of(const Scored& scored);
Json usage_of(const Scored& scored);               // OpenAI's
std::vector<size_t> ranked(const Scored& scored);  // indices by falling score; equal scores keep their order

}  // namespace keel::serve::dialects
