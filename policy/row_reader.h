// Reading rows of ids by the engine.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "core/types.h"
#include "engine/reader.h"
#include "policy/llama.h"

namespace keel::policy {

// What a head says about whole rows of ids, without gradients, by a model that engine_takes(). What it says about a row depends on nothing
// but the row, to the bit. Rows that begin alike are computed once as far as they agree before the positions that are wanted.
class RowReader {
 public:
  RowReader(const Llama& model, const at::Tensor& head);

  // Calls `use` by the threads of the process, with passes in any order, for every row i and its positions wanted_from[i] and later. Throws
  // core::Interrupted on SIGTERM; its text says what was being done: `activity`.
  void read(const std::vector<core::Ids>& rows, const std::vector<int64_t>& wanted_from, const std::string& activity,
            const std::function<void(engine::Forward& forward, std::span<const engine::Place> places)>& use) const;

 private:
  Llama model_;  // keeps the weights
  at::Tensor head_;
  engine::Model packed_;
};

}  // namespace keel::policy
