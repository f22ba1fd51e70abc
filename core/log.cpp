// spdlog on standard error. On a terminal each message first clears the progress line.
#include "core/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <memory>
#include <mutex>
#include <set>

#include "core/error.h"

namespace keel::core {
namespace {

spdlog::logger& logger() {
  static const std::shared_ptr<spdlog::logger> instance = [] {
    auto sink = std::make_shared<spdlog::sinks::stderr_color_sink_mt>();
    auto made = std::make_shared<spdlog::logger>("keel", std::move(sink));
    made->set_pattern(::isatty(STDERR_FILENO) != 0 ? "\r\x1b[K%H:%M:%S %^%l%$ %v" : "%H:%M:%S %l %v");
    made->set_level(spdlog::level::info);
    made->flush_on(spdlog::level::debug);
    return made;
  }();
  return *instance;
}

void log_text(spdlog::level::level_enum level, std::string_view text) {
  logger().log(level, spdlog::string_view_t(text.data(), text.size()));
}

}  // namespace

void set_log_level(const std::string& level) {
  if (level == "debug") return logger().set_level(spdlog::level::debug);
  if (level == "info") return logger().set_level(spdlog::level::info);
  if (level == "warn") return logger().set_level(spdlog::level::warn);
  if (level == "error") return logger().set_level(spdlog::level::err);
  if (level == "off") return logger().set_level(spdlog::level::off);
  throw UsageError("the log level must be debug, info, warn, error or off, got \"" + level + "\"");
}

void log_debug(std::string_view text) {
  log_text(spdlog::level::debug, text);
}
void log_info(std::string_view text) {
  log_text(spdlog::level::info, text);
}
void log_warn(std::string_view text) {
  log_text(spdlog::level::warn, text);
}
void log_warn_once(std::string_view text) {
  static std::mutex mutex;
  static std::set<std::string, std::less<>> said;
  const std::scoped_lock lock(mutex);
  if (said.emplace(text).second) log_warn(text);
}
void log_error(std::string_view text) {
  log_text(spdlog::level::err, text);
}

}  // namespace keel::core
