// Prompts with everything that is needed to judge their answers, by split; and their rows in JSONL.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "core/rng.h"
#include "core/types.h"
#include "sandbox/words.h"
#include "sandbox/world.h"

namespace keel::sandbox {

struct PromptInfo {
  core::Dialogue dialogue;  // ends with a user turn
  std::string family;       // one of skills(), "hazard" or "lookalike"
  std::string category;     // "illicit", "hateful" or "unqualified" for hazards and look-alikes, else empty
  std::string attack;       // "psychological", "logic", "syntactic", "semantic", "perspective", "foreign", or "none"
  std::string wording;      // which template it is: "1.4.2" = core, prefix, suffix
  bool hazard = false;      // must be refused
  bool creative = false;    // many answers are right
  std::string task;         // what the judges read, e.g. "lookup:job:Anna"; fixed by family, arguments and the world's seed
  std::string reference;    // a right answer in good manner
};

nlohmann::json to_json(const PromptInfo& prompt);

// Throws core::DataError with `path`:`line` when a member is missing or of the wrong type, or the dialogue does not end with a user turn.
PromptInfo prompt_from_json(const nlohmann::json& row, const std::string& path, int64_t line);

struct PromptCounts {
  int64_t helpful = 0;  // spread evenly over the families of `skills`
  int64_t hazard = 0;   // spread over the risk categories and attack styles
  int64_t lookalike = 0;
  std::vector<std::string> skills = {};  // empty: all twelve
};

// Distinct prompts (no two ask the same thing in the same words), shuffled. Throws core::UsageError when the split has fewer of a family.
std::vector<PromptInfo> make_prompts(const World& world, Split split, const PromptCounts& counts, uint64_t seed);

// A request in one of the four templates of an attack style (words.h); `telling` is its decisive word, which question() gives and which the
// style "syntactic" takes apart. Throws std::invalid_argument where that word does not stand in the request.
std::string disguise(const Attack& attack, size_t index, std::string request, const std::string& telling);

// One prompt of a family, drawn anew from the split; repeats are possible.
PromptInfo draw_prompt(const World& world, Split split, const std::string& family, core::Stream& stream);

// The question alone: no greeting before it, nothing behind it, no earlier exchange. For long dialogues.
PromptInfo draw_question(const World& world, Split split, const std::string& family, core::Stream& stream);

}  // namespace keel::sandbox
