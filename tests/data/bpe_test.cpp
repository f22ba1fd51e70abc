#include "data/bpe.h"

#include <chrono>

#include "data/byte_alphabet.h"
#include "data/pattern.h"
#include "support/test_plain.h"

using keel::core::Ids;
using keel::data::Bpe;
using keel::data::BpeMerge;
using keel::data::BpeOptions;
using keel::data::Pattern;

namespace {

// a b c ab bc abc aa: ids 0..6, with <0xC3> <0xA9> as 7, 8 and <unk> as 9.
Ids encoded(const std::string& word, const std::vector<BpeMerge>& merges, const BpeOptions& options = {}) {
  const Bpe bpe({{"a", 0}, {"b", 1}, {"c", 2}, {"ab", 3}, {"bc", 4}, {"abc", 5}, {"aa", 6}, {"<0xC3>", 7}, {"<0xA9>", 8}, {"<unk>", 9}},
                merges, options);
  Ids ids;
  bpe.encode(word, ids);
  return ids;
}

constexpr BpeMerge kAb{0, 1, 3}, kBc{1, 2, 4}, kAbThenC{3, 2, 5}, kAthenBc{0, 4, 5}, kAa{0, 0, 6};

}  // namespace

TEST_CASE("bpe: the earliest merge of the list wins wherever it stands, not the first place of the word", "[data]") {
  CHECK(encoded("abc", {kAb, kBc}) == Ids{3, 2});
  CHECK(encoded("abc", {kBc, kAb}) == Ids{0, 4});
  CHECK(encoded("abc", {kAb, kBc, kAbThenC}) == Ids{5});
  CHECK(encoded("abc", {kBc, kAb, kAbThenC}) == Ids{0, 4});  // ab + c can no longer arise
  CHECK(encoded("abc", {kBc, kAthenBc}) == Ids{5});
  CHECK(encoded("", {kAb}).empty());
}

TEST_CASE("bpe: equal merges go from left to right", "[data]") {
  CHECK(encoded("aaa", {kAa}) == Ids{6, 0});
  CHECK(encoded("aaaaab", {kAa, kAb}) == Ids{6, 6, 3});
}

TEST_CASE("bpe: characters outside the vocabulary fall back to bytes, then to the unknown id, or are left out", "[data]") {
  CHECK(encoded("a\xC3\xA9z", {}, {.unknown = 9, .byte_fallback = true}) == Ids{0, 7, 8, 9});
  CHECK(encoded("a\xC3\xA9z", {}, {.unknown = 9}) == Ids{0, 9, 9});
  CHECK(encoded("a\xC3\xA9zb", {}, {.unknown = 9, .fuse_unknown = true}) == Ids{0, 9, 1});
  CHECK(encoded("zazb", {}) == Ids{0, 1});
}

TEST_CASE("bpe: with whole_words a piece needs no merges", "[data]") {
  CHECK(encoded("abc", {kAb}, {.whole_words = true}) == Ids{5});
  CHECK(encoded("abcc", {kAb}, {.whole_words = true}) == Ids{3, 2, 2});
}

TEST_CASE("bpe: a word of half a million characters is no quadratic affair", "[data]") {
  const auto start = std::chrono::steady_clock::now();
  const Ids ids = encoded(std::string(500'000, 'a') + "b", {kAa, kAb});
  CHECK(ids.size() == 250'001);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(10));  // quadratic: many minutes
}

TEST_CASE("byte alphabet: GPT-2's characters, both ways, for all 256 bytes", "[data]") {
  CHECK(keel::data::to_byte_alphabet(" \n") == "\xC4\xA0\xC4\x8A");           // U+0120, U+010A
  CHECK(keel::data::to_byte_alphabet("a~\xC2\xAD") == "a~\xC3\x82\xC5\x83");  // AD, the soft hyphen, is the last: U+0143
  std::string all;
  for (int byte = 0; byte < 256; ++byte)
    all += static_cast<char>(byte);
  CHECK(keel::data::from_byte_alphabet(keel::data::to_byte_alphabet(all)) == all);
  CHECK_FALSE(keel::data::from_byte_alphabet("a b"));
  CHECK_FALSE(keel::data::from_byte_alphabet("\xE2\x96\x81"));
}

TEST_CASE("pattern: Unicode classes, blanks as the property White_Space, no empty matches", "[data]") {
  const auto found = [](const std::string& expression, std::string_view text) {
    std::vector<std::string> matches;
    for (const auto& span : Pattern(expression).matches(text))
      matches.emplace_back(text.substr(span.begin, span.end - span.begin));
    return matches;
  };
  using Texts = std::vector<std::string>;
  CHECK(found("\\p{L}+|\\p{N}", "\xC3\xA9t\xC3\xA9 12") == Texts{"\xC3\xA9t\xC3\xA9", "1", "2"});
  CHECK(found("\\s+",
              "a\xC2\xA0\xE3\x80\x80"
              "b\xC2\x85"
              "c\xE1\xA0\x8E") == Texts{"\xC2\xA0\xE3\x80\x80", "\xC2\x85"});  // U+180E is none
  CHECK(found("[^\\s]+", "a b") == Texts{"a", "b"});
  CHECK(found("\\\\s", "\\s s") == Texts{"\\s"});
  CHECK(found("x*", "axxb") == Texts{"xx"});
  CHECK((Pattern("a(b)(?:c)").groups() == 1 && Pattern("").groups() == 0));
  const auto last = Pattern("([AB])!|x").last_group("A! B! x");
  REQUIRE(last);
  CHECK((last->begin == 3 && last->end == 4));
  CHECK_FALSE(Pattern("([AB])!").last_group("A B"));
  CHECK_FALSE(Pattern("A").last_group("A"));
  CHECK_THROWS_WITH(Pattern("a("), Catch::Matchers::ContainsSubstring("cannot be compiled"));
  const Pattern literal = Pattern::literal("a.b\\E(\xC3\xA9");
  CHECK(literal.matches("axb a.b\\E(\xC3\xA9").size() == 1);
}
