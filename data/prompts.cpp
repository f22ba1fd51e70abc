#include "data/prompts.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <stdexcept>

#include "core/jsonl.h"
#include "core/rng.h"
#include "data/hh_text.h"
#include "data/messages.h"
#include "data/preferences.h"
#include "data/text.h"

namespace keel::data {
namespace {

core::Ids parse_ids(const nlohmann::json& list) {
  if (!list.is_array()) throw std::invalid_argument(fmt::format("\"ids\" must be a list of token ids, got {}", list.type_name()));
  core::Ids ids;
  for (const nlohmann::json& id : list) {
    const bool valid = id.is_number_integer() && id >= 0 && id <= INT32_MAX;
    if (!valid) throw std::invalid_argument(fmt::format("\"ids\" must hold token ids (integers from 0), got {}", id.dump()));
    ids.push_back(id.get<int64_t>());
  }
  return ids;
}

}  // namespace

PromptRecord parse_prompt_record(const nlohmann::json& row, const std::string& text_key) {
  PromptRecord record;
  if (const auto* ids = member(row, "ids")) record.ids = parse_ids(*ids);
  if (const auto* messages = member(row, "messages")) {
    record.messages = parse_messages(*messages, "messages");
    check_roles(*record.messages);
  }
  if (const auto* text = member(row, text_key)) {
    if (text->is_array() && !record.messages) {
      record.messages = parse_messages(*text, text_key);
      check_roles(*record.messages);
    } else {
      record.text = required_text(row, text_key);
    }
  }
  if (record.ids.has_value() + record.messages.has_value() + record.text.has_value() != 1) {
    throw std::invalid_argument(fmt::format("a row must hold exactly one of \"{}\", \"messages\" and \"ids\"", text_key));
  }
  if (member(row, "response") != nullptr) record.response = required_text(row, "response");
  if (record.ids && record.response) throw std::invalid_argument("\"ids\" are used as they are: a \"response\" beside them has no place");
  if (record.messages) learn_all_answers_(*record.messages);
  record.hazard = parse_label(row, "hazard").value_or(false);
  record.source = optional_text(row, "source");
  if (record.source.empty()) record.source = optional_text(row, "family");
  return record;
}

PromptSet read_prompts(const std::filesystem::path& path, const std::string& text_key) {
  PromptSet set;
  set.path = path.string();
  core::JsonlReader reader(path);
  for (nlohmann::json row; reader.next(row);) {
    set.records.push_back(with_place(set.path, reader.line(), [&] { return parse_prompt_record(row, text_key); }));
    set.records.back().line = reader.line();
  }
  return set;
}

core::Ids prompt_ids(const PromptRecord& record, const ChatFormat& format, const Tokenizer& tokenizer, TagPolicy tags, bool bos) {
  if (record.ids) return *record.ids;
  if (record.text) return render_text(tokenizer, *record.text, bos).ids;
  if (record.messages->messages.back().role != "user") {
    throw std::invalid_argument("messages to answer must end with a user turn; these end with an assistant turn");
  }
  return render(format, tokenizer, *record.messages, tags).ids;
}

core::Dialogue answered_dialogue(const PromptRecord& record) {
  if (record.ids) throw std::invalid_argument("\"ids\" hold no text: a row needs \"prompt\" and \"response\", or \"messages\"");
  if (record.text && !record.response) throw std::invalid_argument("a \"prompt\" needs a \"response\" beside it");
  core::Dialogue dialogue = record.text ? dialogue_of_prompt(*record.text, *record.response) : *record.messages;
  if (record.messages && record.response) {
    if (dialogue.messages.back().role == "assistant")
      throw std::invalid_argument("\"messages\" end with an answer already: a \"response\" beside them has no place");
    dialogue.messages.push_back({"assistant", *record.response});
  }
  check_roles(dialogue);
  if (dialogue.messages.back().role != "assistant")
    throw std::invalid_argument("there is no answer: give a \"response\", or \"messages\" that end with it");
  return dialogue;
}

core::TokenSequence answered_sequence(const PromptRecord& record, const ChatFormat& format, const Tokenizer& tokenizer, TagPolicy tags) {
  if (record.ids) {
    core::TokenSequence sequence;
    sequence.ids = *record.ids;
    sequence.loss_mask.assign(sequence.ids.size(), true);
    if (!sequence.loss_mask.empty()) sequence.loss_mask[0] = false;
    return sequence;
  }
  core::Dialogue dialogue = answered_dialogue(record);
  learn_last_answer_(dialogue);  // whatever "weight" says: it is about training
  return render(format, tokenizer, dialogue, tags);
}

std::string opening_turn(const core::Dialogue& prompt) {
  for (const core::Message& message : prompt.messages)
    if (message.role == "user") return std::string(strip(message.content));
  return {};
}

bool opening_held_out(std::string_view opening, double share, uint64_t seed) {
  return core::Stream(seed, "held out", core::text_key(opening)).uniform() < share;
}

bool held_out(const core::Dialogue& prompt, double share, uint64_t seed) {
  return opening_held_out(opening_turn(prompt), share, seed);
}

}  // namespace keel::data
