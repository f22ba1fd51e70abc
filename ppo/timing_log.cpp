#include "ppo/timing_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "core/files.h"
#include "core/json.h"
#include "core/system_error.h"

namespace keel::ppo {

namespace {

// The whole rows of at most iteration `done`.
std::string rows_until(const std::string& text, int64_t done) {
  std::string kept;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const auto row = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (row.is_object() && row.value("step", done + 1) <= done) kept += line + "\n";
  }
  return kept;
}

}  // namespace

TimingLog::TimingLog(const std::filesystem::path& folder, int64_t done) : path_(folder / "timings.jsonl") {
  core::write_file(path_, std::filesystem::exists(path_) ? rows_until(core::read_file(path_), done) : "");
  descriptor_ = ::open(path_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  if (descriptor_ < 0) core::throw_system_error("write", path_, errno);
}

TimingLog::~TimingLog() {
  ::close(descriptor_);
}

void TimingLog::log(int64_t iteration, const core::MetricRow& seconds, std::optional<double> answers_per_second) {
  nlohmann::json row = {{"step", iteration}};
  if (answers_per_second) row["eps"] = *answers_per_second;
  for (const auto& [name, value] : seconds)
    row["timing_s/" + name] = value;
  core::write_fully(descriptor_, core::dump_json(row) + "\n", path_);
}

}  // namespace keel::ppo
