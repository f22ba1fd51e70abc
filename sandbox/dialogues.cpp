#include "sandbox/dialogues.h"

#include "core/rng.h"
#include "sandbox/prompts.h"

namespace keel::sandbox {
namespace {

// Questions that stand by themselves: none asks for what was said earlier.
core::Dialogue asked_in_turn(const World& world, Split split, int64_t turns, core::Stream& stream) {
  core::Dialogue dialogue;
  while (std::ssize(dialogue.messages) < 2 * turns) {
    const std::string& family = stream.pick(skills());
    if (family == "recall") continue;
    const PromptInfo prompt = draw_question(world, split, family, stream);
    dialogue.messages.push_back(prompt.dialogue.messages.back());
    dialogue.messages.push_back({"assistant", prompt.reference});
  }
  return dialogue;
}

}  // namespace

std::vector<core::Dialogue> make_train_dialogues(const World& world, const DialogueConfig& config, uint64_t seed) {
  std::vector<core::Dialogue> dialogues;
  for (int64_t i = 0; i < config.train; ++i) {
    core::Stream stream(seed, "sandbox.dialogues.train", static_cast<uint64_t>(i));
    dialogues.push_back(asked_in_turn(world, Split::train, 1 + i % config.turns, stream));
  }
  return dialogues;
}

std::vector<core::Dialogue> make_test_dialogues(const World& world, const DialogueConfig& config, uint64_t seed) {
  std::vector<core::Dialogue> dialogues;
  for (int64_t i = 0; i < config.test; ++i) {
    core::Stream stream(seed, "sandbox.dialogues.test", static_cast<uint64_t>(i));
    dialogues.push_back(asked_in_turn(world, Split::test, config.turns, stream));
  }
  return dialogues;
}

}  // namespace keel::sandbox
