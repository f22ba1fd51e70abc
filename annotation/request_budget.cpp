#include "annotation/request_budget.h"

#include <fmt/format.h>

namespace keel::annotation {
namespace {

namespace fs = std::filesystem;
constexpr int64_t kLineBytes = 2;  // "1" and its end

int64_t whole_lines(const fs::path& file) {
  std::error_code absent;
  const auto bytes = fs::file_size(file, absent);
  return absent ? 0 : static_cast<int64_t>(bytes) / kLineBytes * kLineBytes;
}

}  // namespace

RequestBudget::RequestBudget(const fs::path& file, int64_t most) : most_(most), log_(file, whole_lines(file)) {}

void RequestBudget::take() {
  const std::lock_guard guard(lock_);
  if (most_ > 0 && log_.offset() / kLineBytes >= most_) throw BudgetSpent(fmt::format("the budget of {} requests is spent", most_));
  log_.append("1");
}

int64_t RequestBudget::sent() const {
  const std::lock_guard guard(lock_);
  return log_.offset() / kLineBytes;
}

}  // namespace keel::annotation
