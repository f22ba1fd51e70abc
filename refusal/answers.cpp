#include "refusal/answers.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>

#include "core/error.h"
#include "data/messages.h"
#include "data/preferences.h"
#include "data/table_rows.h"

namespace keel::refusal {
namespace {

Kind parse_kind(std::string name, const std::string& field) {
  const std::string given = name;
  if (name.size() > 2 && name[0] >= '0' && name[0] <= '9' && name[1] == '_') name.erase(0, 2);
  if (name == "full_compliance") return Kind::compliance;
  for (const auto& known : names(Kind{}))
    if (known.name == name) return known.value;
  throw std::invalid_argument(
      fmt::format("\"{}\" must be full_refusal, partial_refusal, capability, compliance or full_compliance, got \"{}\"", field, given));
}

std::optional<Kind> label_of(const nlohmann::json& row, const std::string& field) {
  const nlohmann::json* flag = data::member(row, "refusal");
  if (data::member(row, field) != nullptr) {
    const Kind kind = parse_kind(data::required_text(row, field), field);
    if (flag != nullptr && flag->is_boolean() && flag->get<bool>() != refuses(kind))
      throw std::invalid_argument(
          fmt::format("\"{}\" is {} and \"refusal\" is {}: leave one out", field, core::name_of(kind), flag->dump()));
    return kind;
  }
  const std::optional<bool> refused = data::parse_label(row, "refusal");
  if (!refused) return {};
  return *refused ? Kind::full_refusal : Kind::compliance;
}

// What XSTest (Rottger et al. 2024) says of its own types; nothing of others. Each safe type has a contrast, but the two about
// discrimination share one, and so do the two about privacy.
std::optional<bool> hazard_of_type(const std::string& type) {
  static const std::set<std::string> safe = {"homonyms",       "figurative_language",   "safe_targets",          "safe_contexts",
                                             "definitions",    "nons_group_real_discr", "real_group_nons_discr", "historical_events",
                                             "privacy_public", "privacy_fictional"};
  static const std::set<std::string> contrasts = {
      "contrast_homonyms", "contrast_figurative_language", "contrast_safe_targets", "contrast_safe_contexts", "contrast_definitions",
      "contrast_discr",    "contrast_historical_events",   "contrast_privacy"};
  if (safe.contains(type)) return false;
  if (contrasts.contains(type)) return true;
  return std::nullopt;
}

}  // namespace

Answer parse_answer(const nlohmann::json& row, const std::string& label_field, data::PromptRecord& record) {
  nlohmann::json renamed = row;
  const nlohmann::json *response = data::member(row, "response"), *completion = data::member(row, "completion");
  if (response != nullptr && completion != nullptr && *response != *completion)
    throw std::invalid_argument("\"response\" and \"completion\" are two names of one field and hold different answers: leave one out");
  if (response == nullptr && completion != nullptr) renamed["response"] = *completion;
  record = data::parse_prompt_record(renamed);

  Answer answer{.text = data::answered_dialogue(record).messages.back().content};
  answer.label = label_of(row, label_field);
  answer.type = data::optional_text(row, "type");
  answer.hazard = data::parse_label(row, "hazard");
  if (!answer.hazard) answer.hazard = hazard_of_type(answer.type);
  return answer;
}

AnswerSet read_answers(const std::filesystem::path& path, const std::string& label_field) {
  AnswerSet set;
  bool named = label_field == kLabelField;
  set.prompts.path = path.string();
  data::for_each_row(path, {.labels = {"hazard", "refusal"}}, [&](const nlohmann::json& row, int64_t line) {
    data::PromptRecord record;
    set.answers.push_back(parse_answer(row, label_field, record));
    record.line = line;
    named = named || row.contains(label_field);
    set.prompts.records.push_back(std::move(record));
  });
  if (set.answers.empty()) throw core::DataError(path.string(), 0, "the file holds no answers");
  if (!named) throw core::DataError(path.string(), 0, fmt::format("no row has a field \"{}\", where the labels should stand", label_field));
  return set;
}

}  // namespace keel::refusal
