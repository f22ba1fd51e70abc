// Descriptions of models, data files and runs, as JSON and as text for people.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "inference/facts.h"

namespace keel::pipelines::cli::runs {

// A data file: "kind", "forms" (rows by form), "rows", "dropped" (by form and reason), "unreadable" {"rows", "first"}, "characters" and,
// with `parts`, "tokens" (quantiles "p50", "p90", "p99", "max"; "over_context", and "refused" with the "first" reason), "sources",
// "batches", "categories", "strengths" (rows by value), "hazard", and "shown": the first `rows` rows. DataError for a file that holds no
// row.
nlohmann::json data_facts(const std::filesystem::path& path, const std::optional<inference::TextParts>& parts, int64_t rows, bool ids);

// How texts of a row are marked.
struct Marks {
  bool colour = false;  // trained text green, special tokens dim; else [[trained]] in brackets
};

std::string text_of_model(const std::filesystem::path& path, const nlohmann::json& facts);
std::string text_of_data(const std::filesystem::path& path, const nlohmann::json& facts, const Marks& marks);
std::string text_of_run(const std::filesystem::path& path, const nlohmann::json& facts);

}  // namespace keel::pipelines::cli::runs
