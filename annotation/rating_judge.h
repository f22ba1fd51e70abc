// A language model that rates answers on the safety scale of ratings.h.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "annotation/judge.h"
#include "annotation/ratings.h"
#include "core/types.h"

namespace keel::annotation {

// An answer to be rated: a dialogue that ends with it, and whose it is.
struct UnratedAnswer {
  core::Dialogue dialogue;
  RatedAnswer labels;  // without ratings
};

// Rows of {"id", "model"} with {"prompt", "response"}, {"messages", "response"} or {"messages"} that end with the answer; "category" and
// "vector" are optional. DataError with file, line and field for anything else, a second answer of one model to one id, and an empty file.
std::vector<UnratedAnswer> read_answers(const std::filesystem::path& file);

// The question about one answer, and the parser of the reply: {"rating": 4}, alone or inside other text; nothing for another reply.
std::string rating_question(const core::Dialogue& dialogue);
std::optional<int> parse_rating_reply(const std::string& reply);

// One row of read_ratings() for each answer: its labels, the judge's model as "person", and the "rating", null where the judge gave none.
// Throws what ask_all() throws; the replies so far lie in `folder`.
std::vector<nlohmann::json> judge_ratings(const JudgeServer& config, const std::vector<UnratedAnswer>& answers,
                                          const std::filesystem::path& folder);

}  // namespace keel::annotation
