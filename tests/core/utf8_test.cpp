#include "core/utf8.h"

#include "support/test_plain.h"

using keel::core::find_invalid_utf8;

TEST_CASE("utf8: every scalar value passes, surrogates and what lies beyond do not", "[core]") {
  for (uint32_t code = 0; code < 0x110400; ++code) {
    // Plain three-range encoding, without any of the rules that the decoder must apply.
    std::string text;
    const auto byte = [&](uint32_t bits) { text += static_cast<char>(bits); };
    if (code < 0x80) {
      byte(code);
    } else if (code < 0x800) {
      byte(0xC0 | code >> 6), byte(0x80 | (code & 63));
    } else if (code < 0x10000) {
      byte(0xE0 | code >> 12), byte(0x80 | (code >> 6 & 63)), byte(0x80 | (code & 63));
    } else {
      byte(0xF0 | code >> 18), byte(0x80 | (code >> 12 & 63)), byte(0x80 | (code >> 6 & 63)), byte(0x80 | (code & 63));
    }
    const bool valid = code < 0xD800 || (code > 0xDFFF && code < 0x110000);
    if ((find_invalid_utf8(text) == std::string_view::npos) != valid) FAIL("code point " << code);
  }
}

TEST_CASE("utf8: broken sequences are found where they begin", "[core]") {
  CHECK(find_invalid_utf8("plain") == std::string_view::npos);
  CHECK(find_invalid_utf8("") == std::string_view::npos);
  CHECK(find_invalid_utf8("ab\x80") == 2);            // a continuation byte without a lead byte
  CHECK(find_invalid_utf8("\xC0\x80") == 0);          // overlong zero
  CHECK(find_invalid_utf8("\xC1\xBF") == 0);          // overlong
  CHECK(find_invalid_utf8("\xE0\x9F\xBF") == 0);      // overlong
  CHECK(find_invalid_utf8("\xF0\x8F\xBF\xBF") == 0);  // overlong
  CHECK(find_invalid_utf8("\xED\xA0\x80") == 0);      // U+D800
  CHECK(find_invalid_utf8("\xF4\x90\x80\x80") == 0);  // U+110000
  CHECK(find_invalid_utf8("\xF5\x80\x80\x80") == 0);
  CHECK(find_invalid_utf8("\xFF") == 0);
  CHECK(find_invalid_utf8("caf\xC3") == 3);  // cut short
  CHECK(find_invalid_utf8("\xE2\x82"
                          "a") == 0);
  CHECK(find_invalid_utf8("\xF0\x9F\x98") == 0);
  CHECK(find_invalid_utf8("0123456789abcde\xFF") == 15);  // after whole machine words of ASCII
}

TEST_CASE("utf8: broken text is refused with its place and repaired piece by piece", "[core]") {
  CHECK_NOTHROW(keel::core::require_utf8("a\xF0\x9F\x99\x82"));
  CHECK_THROWS_WITH(keel::core::require_utf8("ab\xC3"), Catch::Matchers::ContainsSubstring("byte 2"));
  // As Python's bytes.decode("utf-8", "replace").
  const std::string mark = "\xEF\xBF\xBD";
  CHECK(keel::core::repair_utf8("a\xF0\x9F\x99"
                                "b") == "a" + mark + "b");
  CHECK(keel::core::repair_utf8("\xED\xA0\x80") == mark + mark + mark);
  CHECK(keel::core::repair_utf8("\xC0\xAF\x80z\xE2\x82") == mark + mark + mark + "z" + mark);
  CHECK(keel::core::repair_utf8("\xF5\xC3\xA9") == mark + "\xC3\xA9");
}
