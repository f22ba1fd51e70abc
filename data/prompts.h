// Prompts and dialogues that a command reads: one record a line, in input order.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/types.h"
#include "data/chat_format.h"

namespace keel::data {

// Exactly one of text, messages and ids is there.
struct PromptRecord {
  std::optional<std::string> text;         // "prompt" (or the reader's text_key): raw text
  std::optional<core::Dialogue> messages;  // "messages", or "prompt" as a list of messages
  std::optional<core::Ids> ids;            // "ids": used as they are
  std::optional<std::string> response;     // "response": an answer to the prompt
  bool hazard = false;                     // "hazard": the prompt is about safety
  std::string source;                      // "source", or the sandbox's "family": the name of its metrics
  int64_t line = 0;                        // in the file, from 1
};

struct PromptSet {
  std::string path;
  std::vector<PromptRecord> records;
};

// Throws std::invalid_argument for a malformed row (none or two of the three, wrong types, negative ids); unknown keys are ignored. Ids may
// be empty. The caller checks them against its vocabulary.
PromptRecord parse_prompt_record(const nlohmann::json& row, const std::string& text_key = "prompt");

// A .jsonl file (.gz, .zst). DataError with file:line for a malformed row.
PromptSet read_prompts(const std::filesystem::path& path, const std::string& text_key = "prompt");

// Ids to generate from: raw text with BOS as the tokenizer's files say (unless `bos` is false), messages rendered (they must end with a
// user turn), ids as they are. Throws what render() throws.
core::Ids prompt_ids(const PromptRecord& record, const ChatFormat& format, const Tokenizer& tokenizer, TagPolicy tags = TagPolicy::refuse,
                     bool bos = true);

// The dialogue of a row that ends with an answer: messages that do, messages and their response, or prompt and response as
// dialogue_of_prompt reads them. Throws std::invalid_argument for ids, when there is no answer, and for a response after an answer.
core::Dialogue answered_dialogue(const PromptRecord& record);

// A finished dialogue to score: answered_dialogue() rendered as training did, the mask true on the last answer; ids as they are, the mask
// true on all but the first. Throws what answered_dialogue() and render() throw.
core::TokenSequence answered_sequence(const PromptRecord& record, const ChatFormat& format, const Tokenizer& tokenizer,
                                      TagPolicy tags = TagPolicy::refuse);

// True for about `share` of all conversations: those that stay out of training. Keyed by the opening user turn, so that one conversation
// never lands on both sides, neither with another answer nor at another depth (6 % of HH-RLHF's rows go on from another row's prompt).
bool held_out(const core::Dialogue& prompt, double share, uint64_t seed);

// The same by the opening turn (the first user turn, stripped), for a dialogue that has lost its oldest turns.
std::string opening_turn(const core::Dialogue& prompt);
bool opening_held_out(std::string_view opening, double share, uint64_t seed);

}  // namespace keel::data
