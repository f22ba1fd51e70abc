#include "data/demonstrations.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "core/jsonl.h"
#include "data/hh_text.h"
#include "data/messages.h"
#include "data/text.h"

namespace keel::data {
namespace {

Demonstration checked(core::Dialogue dialogue) {
  check_roles(dialogue);
  return {std::move(dialogue), ""};
}

// The completion is learned, the answers inside the prompt are its context.
Demonstration parse_completed_prompt(const nlohmann::json& prompt, const nlohmann::json& completion) {
  if (!completion.is_string() && !completion.is_array()) {
    throw std::invalid_argument(fmt::format("\"completion\" must be text or a list of messages, got {}", completion.type_name()));
  }
  core::Dialogue dialogue;
  if (prompt.is_string() && completion.is_string()) {
    dialogue = dialogue_of_prompt(prompt.get_ref<const std::string&>(), completion.get_ref<const std::string&>());
    learn_last_answer_(dialogue);
    return checked(std::move(dialogue));
  }
  dialogue = prompt.is_string() ? dialogue_of_prompt(prompt.get_ref<const std::string&>()) : parse_messages(prompt, "prompt");
  learn_no_answer_(dialogue);
  if (completion.is_string())
    dialogue.messages.push_back({"assistant", completion.get<std::string>()});
  else
    for (core::Message& message : parse_messages(completion, "completion").messages)
      dialogue.messages.push_back(std::move(message));
  return checked(std::move(dialogue));
}

Demonstration parse_instruction(const nlohmann::json& row) {
  std::string question = required_text(row, "instruction");
  if (const std::string input = optional_text(row, "input"); !strip(input).empty()) question += "\n\n" + input;
  return checked({.messages = {{"user", question}, {"assistant", required_text(row, "output")}}});
}

Demonstration parse_formats(const nlohmann::json& row) {
  if (const auto* messages = member(row, "messages")) return checked(parse_messages(*messages, "messages"));
  const auto *prompt = member(row, "prompt"), *completion = member(row, "completion");
  if (prompt != nullptr && completion != nullptr) return parse_completed_prompt(*prompt, *completion);
  if (member(row, "instruction") != nullptr) return parse_instruction(row);
  if (member(row, "text") != nullptr) return {.dialogue = {}, .text = required_text(row, "text")};
  std::string keys;
  for (const auto& [key, value] : row.items())
    if (!value.is_null()) keys += (keys.empty() ? "" : ", ") + key;
  throw std::invalid_argument(
      fmt::format("a demonstration needs \"messages\", \"prompt\" and \"completion\", \"instruction\" and \"output\", or "
                  "\"text\"; the row has: {}",
                  keys.empty() ? "nothing" : keys));
}

void render_dialogue(core::Dialogue dialogue, ChatFormat format, const Tokenizer& tokenizer, const RenderLimits& limits,
                     RenderedDemonstrations& out) {
  core::TokenSequence sequence;
  const bool fits = shorten_until_fits_(dialogue, limits, out.counts, [&](const core::Dialogue& left) {
    sequence = render(format, tokenizer, left, limits.tags);
    return std::ssize(sequence.ids);
  });
  if (!fits) return;
  if (!learns_an_answer(dialogue)) {
    --out.counts.kept;
    ++out.counts.dropped["weight_0"];
    return;
  }
  out.sequences.push_back(std::move(sequence));
}

void render_pieces(const std::string& text, const Tokenizer& tokenizer, int64_t max_tokens, RenderedDemonstrations& out) {
  const core::TokenSequence whole = render_text(tokenizer, text, true, true);
  const int64_t size = std::ssize(whole.ids);
  ++out.counts.kept;
  if (size > max_tokens) ++out.counts.truncated["pieces"];
  for (int64_t begin = 0; begin < size; begin += max_tokens) {
    const int64_t end = std::min(begin + max_tokens, size);
    out.sequences.push_back(
        {{whole.ids.begin() + begin, whole.ids.begin() + end}, {whole.loss_mask.begin() + begin, whole.loss_mask.begin() + end}});
  }
}

}  // namespace

std::vector<nlohmann::json> demonstration_rows(const nlohmann::json& row) {
  const auto* instances = member(row, "instances");
  if (instances == nullptr || member(row, "instruction") == nullptr) return {row};
  if (!instances->is_array()) throw std::invalid_argument(fmt::format("\"instances\" must be a list, got {}", instances->type_name()));
  std::vector<nlohmann::json> rows;
  for (nlohmann::json instance : *instances) {
    if (!instance.is_object()) throw std::invalid_argument(fmt::format("\"instances\" must hold objects, got {}", instance.type_name()));
    instance["instruction"] = row.at("instruction");
    for (const char* name : {"source", "hazard"})
      if (member(instance, name) == nullptr && row.contains(name)) instance[name] = row.at(name);
    rows.push_back(std::move(instance));
  }
  return rows;
}

std::optional<Demonstration> parse_demonstration(const nlohmann::json& row, Counts& counts) {
  Demonstration demonstration = parse_formats(row);
  if (const auto* source = member(row, "source"); source != nullptr && source->is_string()) demonstration.source = *source;
  demonstration.hazard = parse_label(row, "hazard");
  const auto& messages = demonstration.dialogue.messages;  // empty for plain text
  const char* reason = nullptr;
  if (!messages.empty() && messages.back().role != "assistant") {
    reason = "no_answer";
  } else if (strip(messages.empty() ? demonstration.text : messages.back().content).empty()) {
    reason = "empty_answer";
  } else if (!messages.empty() && !learns_an_answer(demonstration.dialogue)) {
    reason = "weight_0";
  }
  if (reason != nullptr) {
    ++counts.dropped[reason];
    return std::nullopt;
  }
  ++counts.kept;
  return demonstration;
}

DemonstrationSet read_demonstrations(const std::filesystem::path& path) {
  DemonstrationSet set;
  set.path = path.string();
  core::JsonlReader reader(path);
  for (nlohmann::json row; reader.next(row);) {
    with_place(set.path, reader.line(), [&] {
      for (const nlohmann::json& instance : demonstration_rows(row)) {
        auto demonstration = parse_demonstration(instance, set.counts);
        if (!demonstration) continue;
        set.rows.push_back(std::move(*demonstration));
        set.lines.push_back(reader.line());
      }
    });
  }
  return set;
}

RenderedDemonstrations render_demonstrations(const DemonstrationSet& set, ChatFormat format, const Tokenizer& tokenizer,
                                             const RenderLimits& limits) {
  if (limits.max_tokens < 1) throw core::UsageError(fmt::format("max_tokens must be at least 1, got {}", limits.max_tokens));
  RenderedDemonstrations out;
  for (size_t i = 0; i < set.rows.size(); ++i) {
    const int64_t line = i < set.lines.size() ? set.lines[i] : 0;
    const Demonstration& row = set.rows[i];
    with_place(set.path, line, [&] {
      if (row.dialogue.messages.empty())
        render_pieces(row.text, tokenizer, limits.max_tokens, out);
      else
        render_dialogue(row.dialogue, format, tokenizer, limits, out);
    });
  }
  return out;
}

}  // namespace keel::data
