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

// The member must be there.
std::vector<std::string> texts_at(const Json& body, const std::string& name);          // a list of strings
std::vector<std::string> text_or_texts_at(const Json& body, const std::string& name);  // or one string
core::Dialogue answered_at(const Json& body, const std::string& name);                 // messages that end with an assistant turn
core::Ids ids_of(const Json& list, const std::string& name);

core::Dialogue answered_dialogue(const Json& messages, const std::string& name);

// Members that would change the result, and that the service does not know.
void refuse_unsupported(const Json& body, const std::vector<std::string>& names);

double shortest(double score);  // that of the float32 that it came from: 0.1, not 0.10000000149011612
double scaled(const Score& score, bool sigmoid);
int64_t tokens_of(const Scored& scored);
std::vector<size_t> ranked(const Scored& scored);  // indices by falling score; equal scores keep their order

}  // namespace keel::serve::dialects
