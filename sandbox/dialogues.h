// Long conversations for Ghost Attention: what a user asks in turn, and instructions to keep meanwhile.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/config.h"
#include "core/types.h"
#include "sandbox/world.h"

namespace keel::sandbox {

// Dialogues on which instructions are tried; the answers are a model's.
struct DialogueConfig {
  int64_t train = 600;
  int64_t test = 40;
  int64_t turns = 20;
};

inline void visit(DialogueConfig& config, core::Fields& fields) {
  fields("train", config.train, "dialogues to learn from, of 1 to `turns` exchanges, each length equally often", core::at_least(1));
  fields("test", config.test, "dialogues to test with, of `turns` exchanges each", core::at_least(1));
  fields("turns", config.turns, "exchanges of the longest dialogue", core::between(1, 1000));
}

// User turns alone are the point; an assistant turn between two of them is a reference answer.
std::vector<core::Dialogue> make_train_dialogues(const World& world, const DialogueConfig& config, uint64_t seed);
std::vector<core::Dialogue> make_test_dialogues(const World& world, const DialogueConfig& config, uint64_t seed);

}  // namespace keel::sandbox
