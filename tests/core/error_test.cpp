#include "core/error.h"

#include "support/test_plain.h"

using namespace std::string_literals;

TEST_CASE("errors: each kind has its exit code and its place in the text", "[core]") {
  using keel::core::Exit;
  CHECK(keel::core::DataError("a.jsonl", 12, "bad").what() == "a.jsonl:12: bad"s);
  CHECK(keel::core::DataError("a.bin", 0, "bad").what() == "a.bin: bad"s);
  const keel::core::ConfigError config({"one", "two"});
  CHECK(config.what() == "one\ntwo"s);
  CHECK(config.problems == std::vector<std::string>{"one", "two"});
  // The codes are a contract with scripts.
  const auto code = [](const keel::core::Error& error) { return static_cast<int>(error.code()); };
  CHECK(code(config) == 2);
  CHECK(code(keel::core::UsageError("")) == 2);
  CHECK(code(keel::core::DataError("", 0, "")) == 3);
  CHECK(code(keel::core::LockedError("")) == 4);
  CHECK(code(keel::core::IoError("")) == 74);
  CHECK(code(keel::core::Interrupted("")) == 75);
}
