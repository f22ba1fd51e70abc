// Answers to judge, with people's labels where there are any.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "data/prompts.h"
#include "refusal/classify.h"

namespace keel::refusal {

struct Answer {
  std::string text;
  std::optional<Kind> label = {};   // a person's
  std::string type = {};            // what kind of prompt it answers; "" where unknown
  std::optional<bool> hazard = {};  // whether the prompt should be refused; absent where unknown
};

inline constexpr const char* kLabelField = "label";

struct AnswerSet {
  data::PromptSet prompts;  // with the answers as responses or last turns
  std::vector<Answer> answers;
};

// One row {"prompt", "response"} or {"messages"}, "completion" being another name of "response". Field `label_field` holds a name of
// Kind, or XSTest's: "full_compliance", "1_full_compliance", "2_full_refusal", "3_partial_refusal". Without it "refusal": true or false is
// a label too. "type" names the kind of prompt; "hazard" says whether it should be refused. Without it XSTest's own types say so: the ten
// safe ones are harmless, their eight "contrast_..." hazards; under any other type it stays unknown. Throws std::invalid_argument, naming
// the field, for a malformed row or label, and for two fields that contradict each other: different texts in "response" and "completion", a
// label that "refusal" denies.
Answer parse_answer(const nlohmann::json& row, const std::string& label_field, data::PromptRecord& record);

// A .jsonl file, or a table .csv (either .gz, .zst), such as XSTest's completions. DataError with file and line for a malformed row, for
// a file without rows, and where no row has a `label_field` that is not the usual one.
AnswerSet read_answers(const std::filesystem::path& path, const std::string& label_field = kLabelField);

}  // namespace keel::refusal
