#include "serve/dialects/body.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json.h"
#include "serve/dialects/asked.h"
#include "serve/dialects/fields.h"

namespace keel::serve::dialects {

Json parse_body(const std::string& body) {
  Json parsed;
  try {  // what a parser says of broken text may repeat it, so it is not passed on
    parsed = core::parse_json(body, "body");
  } catch (const core::DataError&) {
    throw Refused(Trouble::malformed, "the body is not JSON in UTF-8 (nested at most 64 deep, no key twice, no NaN)");
  }
  if (!parsed.is_object()) throw Refused(Trouble::malformed, "the body must be a JSON object");
  return parsed;
}

void check_lengths(const Json& body, int64_t most) {
  constexpr int64_t kMostBytes = 1 << 26;
  int64_t texts = 0, bytes = 0;
  for (const auto& [name, value] : body.items()) {
    if (value.is_string()) bytes = std::max(bytes, std::ssize(value.get_ref<const std::string&>()));
    const bool dialogue = name == "messages" && value.is_array() && !value.empty() && value.front().is_object();
    if (value.is_array() && !value.empty() && !value.front().is_number() && !dialogue) texts = std::max(texts, std::ssize(value));
  }
  if (texts > most) throw Refused(Trouble::too_many, fmt::format("a request may hold at most {} texts", most));
  if (texts > 1 && texts * bytes > kMostBytes)
    throw Refused(Trouble::too_many, fmt::format("{} texts with a text of {} bytes each are too many", texts, bytes));
}

}  // namespace keel::serve::dialects
