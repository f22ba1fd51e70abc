// KEEL_FAIL_POINT, read at every step so that a test can set it after it forked.
#include "pipelines/run/fail_point.h"

#include <charconv>
#include <csignal>
#include <cstdlib>

namespace keel::pipelines::run {

void fail_point(std::string_view name) {
  static int passes = 0;  // of the one step that the variable names
  const char* wanted = std::getenv("KEEL_FAIL_POINT");
  if (wanted == nullptr) return;
  const std::string_view text = wanted;
  const size_t colon = text.rfind(':');
  if (text.substr(0, colon) != name) return;
  int pass = 1;
  if (colon != std::string_view::npos) std::from_chars(text.data() + colon + 1, text.data() + text.size(), pass);
  if (++passes == pass) std::raise(SIGKILL);
}

}  // namespace keel::pipelines::run
