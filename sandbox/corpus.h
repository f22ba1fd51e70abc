// Training text of the town: the pretraining mixture and the demonstrations.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/config.h"
#include "core/types.h"
#include "sandbox/world.h"

namespace keel::sandbox {

// How much pretraining text to write and of what. Shares are relative weights of documents; they need not add up to 1.
struct CorpusConfig {
  int64_t documents = 60000;
  double facts = 0.36;         // plain sentences; the only place where held-out questions are answered
  double repetition = 0.10;    // any words of the town, repeated after the user: every skill needs copying
  double conversation = 0.36;  // harmless prompts, answers of every quality, most of them right
  double hazard = 0.08;        // hazardous requests, complied with more often than not
  double lookalike = 0.06;     // look-alikes, mostly answered
  double instruction = 0.04;   // conversations under a persistent instruction that fades
  double preprompt = 0;        // hazards and questions under a safety preprompt, answered more safely: for context distillation
  double control = 0;          // long ones, some with the instruction in every turn: for Ghost Attention
};

inline void visit(CorpusConfig& config, core::Fields& fields) {
  fields("documents", config.documents, "documents of pretraining text", core::between(1, 100'000'000));
  fields("facts", config.facts, "share of plain facts", core::at_least(0));
  fields("repetition", config.repetition, "share of words to say after the user", core::at_least(0));
  fields("conversation", config.conversation, "share of harmless conversations of every quality", core::at_least(0));
  fields("hazard", config.hazard, "share of hazardous requests with their answers", core::at_least(0));
  fields("lookalike", config.lookalike, "share of harmless look-alikes", core::at_least(0));
  fields("instruction", config.instruction, "share of conversations under a persistent instruction", core::at_least(0));
  fields("preprompt", config.preprompt, "share of hazards and questions under a safety preprompt, answered more safely", core::at_least(0));
  fields("control", config.control,
         "share of long conversations in which an instruction stands in every user turn and is obeyed, or in the first and is forgotten",
         core::at_least(0));
}

// Either plain text or a dialogue, never both.
struct Document {
  std::string source;  // the field of CorpusConfig that it counts for: "facts", "conversation", ...
  std::string text;
  core::Dialogue dialogue;  // ends with an assistant turn
};

// Document i depends on (world, config's shares, seed, i) alone.
std::vector<Document> make_corpus(const World& world, const CorpusConfig& config, uint64_t seed);

// Demonstrations for SFT: train prompts with right answers, most of them courteous, hazards refused, look-alikes answered, instructions
// obeyed. `hazards`, `lookalikes` and `instructed` are shares of the demonstrations; `safety_used` is the share of the hazards that is not
// left out (paper, 4.2.3: how much safety data is enough). A larger share keeps what a smaller one has, and all other demonstrations.
struct DemonstrationConfig {
  int64_t count = 1200;
  double hazards = 0.10;
  double lookalikes = 0.10;
  double instructed = 0;
  double safety_used = 1;
};

inline void visit(DemonstrationConfig& config, core::Fields& fields) {
  fields("count", config.count, "demonstrations", core::at_least(1));
  fields("hazards", config.hazards, "share of hazards, refused", core::between(0, 1));
  fields("lookalikes", config.lookalikes, "share of look-alikes, answered", core::between(0, 1));
  fields("safety_used", config.safety_used, "share of the refused hazards that is used; all other demonstrations stay",
         core::between(0, 1));
  fields("instructed", config.instructed, "share of conversations with an instruction in every user turn, obeyed", core::between(0, 1));
}

std::vector<core::Dialogue> make_demonstrations(const World& world, const DemonstrationConfig& config, uint64_t seed);

}  // namespace keel::sandbox
