// A dialogue with a model at the terminal.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "inference/model_folder.h"
#include "policy/generator.h"
#include "reward/combination.h"

namespace keel::pipelines::cli::talk {

// A reward model that scores the answers.
struct ChatScorer {
  std::string name;  // "helpfulness"
  inference::ScoringModel model;
};

struct ChatSetup {
  inference::LanguageModel model;
  std::string system;
  policy::SamplingConfig sampling;
  inference::RenderPolicy limit;                  // of the model, or as the command line says
  std::vector<ChatScorer> scorers;                // one; or two, helpfulness and safety
  std::optional<reward::CombinationConfig> gate;  // of two
  uint64_t seed = 1;
  bool interactive = true;  // a person types: prompts are shown
};

// Reads lines from standard input, prints answers to standard output as they are sampled. Returns at /quit, at the end of the input, and at
// Ctrl-C while it waits; Ctrl-C during an answer ends that answer. Throws core::Interrupted at SIGTERM, UsageError for a system turn that
// the chat format does not have, and for a limit that leaves no room for an answer.
void chat(const ChatSetup& setup);

}  // namespace keel::pipelines::cli::talk
