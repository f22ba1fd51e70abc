// The body of a request, before any dialect reads it.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace keel::serve::dialects {

// The body as an object. Throws Refused for anything else.
nlohmann::json parse_body(const std::string& body);

// Throws Refused where a list holds more than `most` texts, before anything is made of them. Lists of numbers are ids, and of messages one
// dialogue. A text that would be repeated for each of a list counts as often.
void check_lengths(const nlohmann::json& body, int64_t most);

}  // namespace keel::serve::dialects
