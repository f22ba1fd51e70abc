// A Llama's forward pass over rows of any sequences: prompts and answers, long and short, in one go.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/model.h"
#include "engine/pages.h"
#include "engine/team.h"

namespace keel::engine {

// One token at its place in a sequence, whose earlier positions were computed before or stand in the same pass.
struct Row {
  const Sequence* sequence;
  int64_t id;
  int64_t position;
};

// What a row gets is a function of the weights and of the ids of its sequence up to its position, whatever rows stand beside it.
class Forward {
 public:
  Forward(const Model& model, const PagePool& pages, Team& team);

  // Computes the rows; keys and values go into their pages. Returns the hidden states before the last norm, [rows, D], until the next call.
  const float* run(std::span<const Row> rows);

  // Logits of some of the rows of the last run(), [chosen, V], until the next call.
  const float* logits(std::span<const int64_t> chosen);

 private:
  void layer(int64_t index, std::span<const Row> rows, int member);

  const Model& model_;
  const PagePool& pages_;
  Team& team_;
  const Kernels& kernels_;
  Buffer x_, normed_, qkv_, mixed_, gate_up_, inner_, logits_;
  std::vector<Buffer> scores_;  // of each member
};

}  // namespace keel::engine
