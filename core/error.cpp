// Texts of the error kinds: one problem a line for a configuration, "path:line: text" for data.
#include "core/error.h"

#include <utility>

namespace keel::core {
namespace {

std::string joined_problems(const std::vector<std::string>& problems) {
  std::string text;
  for (const std::string& problem : problems) {
    if (!text.empty()) text += '\n';
    text += problem;
  }
  return text;
}

}  // namespace

ConfigError::ConfigError(std::vector<std::string> all) : Error(Exit::usage, joined_problems(all)), problems(std::move(all)) {}

DataError::DataError(const std::string& path, int64_t line, const std::string& text)
    : Error(Exit::data, line == 0 ? path + ": " + text : path + ":" + std::to_string(line) + ": " + text) {}

}  // namespace keel::core
