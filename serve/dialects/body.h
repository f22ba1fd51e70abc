// Bodies as text: of a request, before any dialect reads it, and of a reply, when its dialect has made it.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace keel::serve::dialects {

constexpr int64_t kMostDepth = 32;

// The body as an object. Throws Refused for anything else, and for one that is nested deeper than kMostDepth.
nlohmann::json parse_body(const std::string& body);

// Compact, numbers as core::dump_json() writes them, but a float always as one: 1.0, not 1, which clients in Python would make an int.
std::string reply_body(const nlohmann::json& reply);

// Throws Refused where a list holds more than `most` texts, before anything is made of them. Lists of numbers are ids, and of messages one
// dialogue. A text that would be repeated for each of a list counts as often.
void check_lengths(const nlohmann::json& body, int64_t most);

}  // namespace keel::serve::dialects
