#include "data/row_forms.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>

#include "core/terminal.h"
#include "data/demonstrations.h"
#include "data/hh_text.h"
#include "data/messages.h"
#include "data/preferences.h"
#include "data/prompts.h"

namespace keel::data {
namespace {

using nlohmann::json;

std::string reason_of(const Counts& counts) {
  return counts.dropped.empty() ? std::string() : counts.dropped.begin()->first;
}

bool has(const json& row, const char* name) {
  return member(row, name) != nullptr;
}

FormedRow pair_of(const json& row) {
  FormedRow formed{.form = "preference pair"};
  Counts counts;
  const auto pair = parse_preference(row, {}, counts);
  formed.dropped = reason_of(counts);
  if (!pair) return formed;
  formed.dialogue = formed.other.emplace(pair->prompt);
  formed.dialogue.messages.push_back({"assistant", pair->chosen});
  formed.other->messages.push_back({"assistant", pair->rejected});
  learn_last_answer_(formed.dialogue);
  learn_last_answer_(*formed.other);
  return formed;
}

FormedRow prompt_of(const json& row) {
  const PromptRecord record = parse_prompt_record(row);
  FormedRow formed{.form = "prompt"};
  if (record.ids) {
    formed.form = "ids";
    formed.ids = record.ids;
  } else if (record.response) {
    formed.form = "answer";
    formed.dialogue = answered_dialogue(record);
    learn_last_answer_(formed.dialogue);
  } else {
    formed.dialogue = record.messages ? *record.messages : dialogue_of_prompt(*record.text);
  }
  return formed;
}

FormedRow demonstration_of(const json& given) {
  const std::vector<json> rows = demonstration_rows(given);
  const json& row = rows.empty() ? given : rows.front();  // of several instances the first stands for all
  Counts counts;
  FormedRow formed{.form = "demonstration"};
  const auto demonstration = parse_demonstration(row, counts);
  formed.dropped = reason_of(counts);
  if (formed.dropped == "no_answer") return prompt_of(row);
  if (!demonstration) return formed;
  formed.dialogue = demonstration->dialogue;
  formed.text = demonstration->text;
  if (formed.dialogue.messages.empty()) formed.form = "document";
  return formed;
}

// Forms that are told by their keys alone; "" for others.
std::string other_form(const json& row) {
  if (has(row, "kind") && has(row, "attempt")) return "red-team event";
  if (has(row, "id") && has(row, "model") && (row.contains("rating") || has(row, "ratings"))) return "rating";
  if (has(row, "answers") && (has(row, "messages") || has(row, "prompt"))) return "comparison";
  if ((has(row, "label") || has(row, "refusal") || has(row, "type")) && (has(row, "response") || has(row, "completion")))
    return "labelled answer";
  if ((has(row, "text") && (has(row, "short") || has(row, "kind") || has(row, "pattern"))) || (has(row, "kind") && has(row, "value")))
    return "instruction";
  if (has(row, "text") && row.at("text").is_string() &&
      row.at("text").get_ref<const std::string&>().find("{adjective}") != std::string::npos)
    return "preprompt";
  if (has(row, "score") && has(row, "probability")) return "score";
  if (has(row, "step") && row.at("step").is_number()) return "metrics";
  if (has(row, "event") && has(row, "time")) return "event";
  if (has(row, "stage") && has(row, "key") && has(row, "outputs")) return "lineage";
  return {};
}

std::string keys_of(const json& row) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : row.items())
    if (!value.is_null()) keys.push_back(key);
  return keys.empty() ? "nothing" : fmt::format("{}", fmt::join(keys, ", "));
}

// Rows of readers that read more forms than are told apart above.
FormedRow any_of(const json& row) {
  for (const auto& reader : {pair_of, demonstration_of, prompt_of}) {
    try {
      return reader(row);
    } catch (const std::invalid_argument&) {  // the next reader may take it
    }
  }
  throw std::invalid_argument(fmt::format("the row is of no form that keel reads; it has: {}", keys_of(row)));
}

}  // namespace

FormedRow formed_row(const json& row) {
  if (has(row, "chosen") && has(row, "rejected")) return pair_of(row);
  if (const std::string form = other_form(row); !form.empty()) {
    FormedRow formed{.form = form};
    for (const char* name : {"text", "response", "completion"})
      if (const json* value = member(row, name); value != nullptr && value->is_string()) formed.text = value->get<std::string>();
    return formed;
  }
  if (has(row, "ids")) {  // an answer of generate has its text beside them
    json alone = {{"ids", row.at("ids")}};
    return prompt_of(alone);
  }
  if (has(row, "response")) return prompt_of(row);
  if (has(row, "messages") || (has(row, "prompt") && has(row, "completion"))) return demonstration_of(row);
  if (has(row, "prompt")) return prompt_of(row);
  if (has(row, "text")) return demonstration_of(row);
  return any_of(row);
}

int64_t characters(const FormedRow& row) {
  size_t count = core::count_characters(row.text);
  for (const core::Message& message : row.dialogue.messages)
    count += core::count_characters(message.content);
  if (row.other) count += core::count_characters(row.other->messages.back().content);
  return static_cast<int64_t>(count);
}

std::vector<core::TokenSequence> rendered_row(const FormedRow& row, const ChatFormat& format, const Tokenizer& tokenizer, TagPolicy tags) {
  if (row.ids) return {{*row.ids, std::vector<bool>(row.ids->size(), false)}};
  if (row.form == "document") return {render_text(tokenizer, row.text, true, tokenizer.eos().has_value())};
  if (row.dialogue.messages.empty()) return {};
  if (format == ChatFormat::none && row.dialogue.messages.size() == 1) {
    core::TokenSequence sequence = render_text(tokenizer, row.dialogue.messages[0].content);
    sequence.loss_mask.assign(sequence.ids.size(), false);
    return {sequence};
  }
  std::vector<core::TokenSequence> sequences = {render(format, tokenizer, row.dialogue, tags)};
  if (row.other) sequences.push_back(render(format, tokenizer, *row.other, tags));
  return sequences;
}

}  // namespace keel::data
