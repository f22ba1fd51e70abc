// Messages for people, to standard error. Results never go here. Callers format with fmt.
#pragma once

#include <string>
#include <string_view>

namespace keel::core {

void set_log_level(const std::string& level);  // "debug" | "info" | "warn" | "error" | "off"; UsageError for others
void log_debug(std::string_view text);
void log_info(std::string_view text);
void log_warn(std::string_view text);
void log_warn_once(std::string_view text);  // each text once per process
void log_error(std::string_view text);

}  // namespace keel::core
