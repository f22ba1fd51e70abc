// The requests that a stage has sent, counted over all of its attempts, and how many it may send.
#pragma once

#include <cstdint>
#include <filesystem>
#include <mutex>

#include "core/error.h"
#include "core/row_log.h"

namespace keel::annotation {

// Thrown in place of the request that would be one too many.
struct BudgetSpent : core::UsageError {
  using core::UsageError::UsageError;
};

class RequestBudget {
 public:
  // `file` has one line a request that was sent so far, and is made where it does not exist. `most` 0: no limit.
  RequestBudget(const std::filesystem::path& file, int64_t most);

  // Notes one more request, before it is sent: a kill cannot make it forgotten. Threads may call it. BudgetSpent where there is no room.
  void take();

  int64_t sent() const;
  int64_t most() const { return most_; }

 private:
  int64_t most_;
  core::RowLog log_;
  mutable std::mutex lock_;
};

}  // namespace keel::annotation
