#include "core/terminal.h"

#include "support/test_plain.h"

using keel::core::count_characters;
using keel::core::harmless;
using keel::core::harmless_line;

TEST_CASE("terminal: nothing in a text steers the terminal, everything else stays", "[core]") {
  CHECK(harmless("a\tb\nc \xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80") == "a\tb\nc \xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80");
  CHECK(harmless("\x1b[2J\r\x07\x7f") == "\\u001b[2J\\u000d\\u0007\\u007f");
  CHECK(harmless("\xC2\x9B"
                 "31m") == "\\u009b31m");                             // CSI in one character
  CHECK(harmless("\xE2\x80\xAE|\xE2\x81\xA6") == "\\u202e|\\u2066");  // right to left
  CHECK(harmless("\xC2\xA0\xE2\x80\xAF") == "\xC2\xA0\xE2\x80\xAF");  // their neighbours
  CHECK(harmless(std::string_view("\0x", 2)) == "\\u0000x");
  CHECK(harmless("\xE2\x82") == "\xEF\xBF\xBD");
}

TEST_CASE("terminal: one line of at most so many characters", "[core]") {
  CHECK(harmless_line("a\nb\tc", 5) == "a b c");
  CHECK(harmless_line("abcdef", 5) == "ab...");
  CHECK(harmless_line("\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9", 4) == "\xC3\xA9...");
  CHECK(count_characters("\xE2\x82\xAC x") == 3);
}
