// A model that answers again and again: dialogues turn by turn, prompts shard by shard.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/types.h"
#include "policy/generate.h"
#include "policy/llama.h"

namespace keel::policy {

// For the keys and values of dialogues that go on: some twenty thousand tokens of a model of 135 M parameters.
inline constexpr int64_t kDialogueBytes = int64_t{1} << 30;

// What generate() does, call after call, to the bit. A model that can_stay_packed() is packed once. Up to
// `kept_bytes` of keys and values of answered prompts stay in memory, so that a prompt that begins like one of them, answer included, is
// read from there on. The weights must not change meanwhile.
class Generator {
 public:
  explicit Generator(const Llama& model, int64_t kept_bytes = 0);
  ~Generator();
  Generator(Generator&&) noexcept;
  Generator& operator=(Generator&&) noexcept;

  // As generate(), which see.
  std::vector<core::Sample> generate(const GenerationJob& job);

  int64_t prompt_tokens_read() const;  // so far; those that were kept do not count
  int64_t pages_in_use() const;        // between calls: those that are kept

 private:
  std::vector<core::Sample> generate_here(const GenerationJob& job);

  struct Packed;  // what lives from call to call on the engine

  Llama model_;                     // keeps the weights
  std::unique_ptr<Packed> packed_;  // none: plain operators
};

}  // namespace keel::policy
