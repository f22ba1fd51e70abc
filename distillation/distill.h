// Safety context distillation (Llama 2 paper, 4.2.4): the model answers hazardous prompts under a safety preprompt, and learns these
// answers without it, where the safety reward model rates them above the answers that it gave by itself.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/config.h"
#include "core/types.h"
#include "data/chat_format.h"
#include "data/counts.h"
#include "data/instructed.h"
#include "distillation/preprompts.h"

namespace keel::distillation {

// Which distilled answers are kept: those that the safety reward model scores above the original answer, or all.
enum class Keep { better, always };
constexpr auto names(Keep) {
  return std::to_array<core::Named<Keep>>({{Keep::better, "better"}, {Keep::always, "always"}});
}

struct DistillConfig {
  Keep keep = Keep::better;  // paper
  data::Form form = data::Form::system;
  bool finished_only = true;  // not in the paper; an answer cut at the length limit would teach the model not to stop
};

inline void visit(DistillConfig& config, core::Fields& fields) {
  fields("keep", config.keep, "distilled answers that are kept: those that the safety model scores higher than the original, or all");
  fields("form", config.form, "where the preprompt stands: before the first user turn's text, or in the system turn");
  fields("finished_only", config.finished_only, "leave out distilled answers that did not end by themselves");
}

struct HazardPrompt {
  core::Dialogue dialogue;  // ends with a user turn
  std::string category;     // may be empty
};

// Answers to prompts; nothing for one that does not fit. `purpose` names the draws.
using AnswerPrompts =
    std::function<std::vector<std::optional<core::Answer>>(const std::vector<core::Dialogue>& prompts, const std::string& purpose)>;
// The safety model's scores (raw) of dialogues that end with an answer; nothing for one that does not fit.
using ScoreAnswers = std::function<std::vector<std::optional<double>>(const std::vector<core::Dialogue>& answered)>;

struct Distilled {
  core::Dialogue messages;  // prompt, without preprompt, and the distilled answer, which alone is learned
  std::string category, preprompt, original;
  double score = 0, original_score = 0;  // raw, of the two answers to the prompt without preprompt
};

struct DistilledData {
  std::vector<Distilled> rows;
  data::Counts counts;  // dropped: "over_long", "unfinished", "empty_answer", "tags", "not_better"
};

// Both answers to each prompt are scored as answers to the prompt alone. `format`: whose tags no answer may hold.
DistilledData distill(const std::vector<HazardPrompt>& prompts, const std::vector<Preprompt>& preprompts, const DistillConfig& config,
                      const data::ChatFormat& format, uint64_t seed, const AnswerPrompts& answer, const ScoreAnswers& score);

}  // namespace keel::distillation
