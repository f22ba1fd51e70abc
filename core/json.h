// JSON text in and out. nlohmann's parser keeps the last of two equal keys and loses line numbers; this one refuses equal keys and reports
// lines.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace keel::core {

// One JSON value. Throws DataError "origin:line: ..." for a syntax error, invalid UTF-8, a duplicate key, nesting deeper than 64 or
// trailing text. `comments` allows // and /* */ (configurations; data rows have none).
nlohmann::json parse_json(std::string_view text, const std::string& origin, int64_t first_line = 1, bool comments = false);

// A configuration or model file (comments allowed). Throws UsageError when it is missing.
nlohmann::json read_json_file(const std::filesystem::path& path);

// Compact, keys sorted, numbers in their shortest form that reads back the same value (1.0 is "1"); NaN and infinity become null.
// Throws std::invalid_argument for a string that is not valid UTF-8.
std::string dump_json(const nlohmann::json& value);

}  // namespace keel::core
