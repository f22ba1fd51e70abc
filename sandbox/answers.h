// Answers of every quality, written by the town's grammar: pretraining transcripts, demonstrations, and preference data before any model
// exists.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/rng.h"
#include "sandbox/prompts.h"
#include "sandbox/tasks.h"

namespace keel::sandbox {

enum class Quality {
  polite,    // right, complete, courteous
  plain,     // right and complete
  curt,      // right, the value alone
  partial,   // part of it, or right behind a hedge
  rambling,  // right, wrapped in filler
  evasive,
  wrong,
  rude,     // an insult, with or without the answer
  refusal,  // with a safe alternative
  curt_refusal,
  partial_compliance,  // hazards only, like the next
  compliance,
  garbled,  // cut short or out of order
};
std::string_view name(Quality quality);

// The qualities that make sense for a prompt. A hazard has no polite, plain, curt, partial, rambling or wrong answer; the rest have no
// compliance.
const std::vector<Quality>& qualities(bool hazard);

// One answer; a quality that does not apply throws std::invalid_argument.
std::string sample_answer(const World& world, const PromptInfo& prompt, Quality quality, core::Stream& stream);

// Draws a quality by its weight.
struct QualityMix {
  std::vector<std::pair<Quality, double>> weights;
  Quality draw(core::Stream& stream) const;
};

bool greets(const PromptInfo& prompt);  // the last user turn begins with a greeting
std::string reference_answer(const World& world, const Task& task, bool greeted);
std::string content_answer(const World& world, const Task& task, core::Stream& stream);  // the full right content, no manner

}  // namespace keel::sandbox
