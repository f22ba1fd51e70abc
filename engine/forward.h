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

// Rows that a pass should have: beyond a few hundred, a product gains nothing from more.
inline constexpr int64_t kPassRows = 256;

// What a row gets is a function of the weights and of the ids of its sequence up to its position, whatever rows stand beside it.
class Forward {
 public:
  Forward(const Model& model, const PagePool& pages, Team& team);

  // Computes the rows; keys and values go into their pages. `wanted`: which of the rows, in order, logits() is asked about later. In the
  // last layer the others stop there.
  void run(std::span<const Row> rows, std::span<const int64_t> wanted);

  // The head's outputs for the wanted rows begin..end of the last run(), [end - begin, V], until the next call.
  const float* logits(int64_t begin, int64_t end);

 private:
  struct Together {  // rows of one sequence that follow one another: `count` from the wanted one with this number on
    int64_t first, count;
  };
  void join(std::span<const Row> rows, std::span<const int64_t> wanted, std::vector<Together>& to) const;
  bool by_rows(int64_t rows) const;
  void times(const float* x, const Packed& by, float* y, int64_t rows, Into into, int member);
  void layer(int64_t index, std::span<const Row> rows, std::span<const int64_t> wanted, std::span<const Together> together, int member);

  const Model& model_;
  const PagePool& pages_;
  Team& team_;
  const Kernels& kernels_;
  Buffer x_, states_, normed_, qkv_, mixed_, gate_up_, inner_, logits_;
  std::vector<Buffer> scores_, low_,
      rooms_;                 // of each member; low_: of adapters, scale A x; rooms_: for products with weights as they lie
  Buffer cos_, sin_;          // of the angles of the rotary embedding, [positions, h / 2]
  std::vector<int64_t> all_;  // 0, 1, 2, ...
  std::vector<Together> all_together_, wanted_together_;
};

}  // namespace keel::engine
