// Reading whole rows of ids: what a model's head says about their positions.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/types.h"
#include "engine/forward.h"

namespace keel::engine {

// One position of a row, whose outputs are wanted.
struct Place {
  size_t row;  // its index in `rows`
  int64_t position;
};

// Reads rows one after the other in passes of a few hundred tokens. Where a row begins as the one before it does, their pages are shared.
class Reader {
 public:
  Reader(const Model& model, int threads);

  // The outputs of row i are wanted from position wanted_from[i] on, which must exist. `use` gets them after each pass: places[j] belongs
  // to the forward pass's wanted row j.
  void read(std::span<const core::Ids* const> rows, std::span<const int64_t> wanted_from,
            const std::function<void(Forward& forward, std::span<const Place> places)>& use);

 private:
  Team team_;
  PagePool pages_;
  Forward forward_;
};

}  // namespace keel::engine
