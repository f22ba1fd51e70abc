// What a red team tries to obtain: prompt sets, with the risk category of each request.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/counts.h"
#include "sandbox/world.h"

namespace keel::red_team {

// The paper's risk categories (4.2), and "other".
const std::vector<std::string>& categories();

struct Request {
  std::string id;        // what is asked for, in whatever words: all violations of one id are one broken request
  std::string category;  // one of categories()
  std::string text;      // undisguised
  std::string telling;   // sandbox: the decisive word, "" elsewhere
  nlohmann::json row;    // the prompt's row without its messages: what a judge needs, and what the export gives back
};

struct RequestSet {
  std::vector<Request> requests;
  data::Counts counts;  // dropped: "harmless" ("hazard": false), "repeated" (an id that an earlier row has)
};

// Rows of a prompt file (docs/formats.md): one user turn each, with "category" ("other" when absent) and "id" (the normalised text when
// absent). With a `world` the rows are prompts of that sandbox: the id is their task, and the text asks for it without a disguise.
// DataError with file:line for a malformed row and a file without requests.
RequestSet read_requests(const std::filesystem::path& file, const std::optional<sandbox::World>& world);

// Lower-case words and symbols (+ # $ % & @ = < > / \ ^ |) with single blanks between them; case, punctuation and blanks make no new
// prompt. Symbols do: "C++" is not "C#".
std::string normalised(std::string_view text);

}  // namespace keel::red_team
