#include "data/statistics.h"

#include <nlohmann/json.hpp>

#include "support/byte_tokenizer.h"
#include "support/test_plain.h"

using keel::core::PreferencePair;
using namespace keel::data;
using Catch::Approx;
using keel::test::ByteTokenizer;

namespace {

PreferencePair pair_of(const std::string& prompt, const std::string& chosen, const std::string& rejected, const std::string& source = {}) {
  PreferencePair pair;
  pair.prompt.messages = {{"user", prompt}};
  pair.chosen = chosen;
  pair.rejected = rejected;
  pair.source = source;
  return pair;
}

PreferenceSet set_of(std::vector<PreferencePair> pairs) {
  PreferenceSet set{.path = "pairs.jsonl", .pairs = std::move(pairs), .lines = {}, .counts = {}};
  for (size_t i = 0; i < set.pairs.size(); ++i)
    set.lines.push_back(static_cast<int64_t>(10 + i));
  set.counts.kept = std::ssize(set.pairs);
  return set;
}

}  // namespace

TEST_CASE("statistics: a table by source, by hand with one token a byte", "[data]") {
  PreferencePair deep =
      pair_of("abcd", "ef", "ghij", "b");  // three user turns of 4, 2 and 6, earlier answers of 1 and 3, answers of 2 and 4
  deep.prompt.messages = {{"system", "12345"}, {"user", "abcd"},     {"assistant", "x"},
                          {"user", "yz"},      {"assistant", "uvw"}, {"user", "qrstuv"}};
  const auto rows = pair_statistics(set_of({pair_of("abc", "d", "efg", "a"), deep, pair_of("a", "bcde", "fg", "a")}), ByteTokenizer());
  REQUIRE(rows.size() == 3);
  CHECK(rows[0].source == "a");
  CHECK(rows[0].comparisons == 2);
  CHECK(rows[0].turns == 1);
  CHECK(rows[0].tokens_per_prompt == 2);                                                         // (3 + 1) / 2
  CHECK(rows[0].tokens_per_response == 2.5);                                                     // (1 + 3 + 4 + 2) / 4
  CHECK(rows[0].tokens_per_example == rows[0].tokens_per_prompt + rows[0].tokens_per_response);  // one turn: as in the paper's rows
  CHECK(rows[1].source == "b");
  CHECK(rows[1].turns == 3);
  CHECK(rows[1].tokens_per_prompt == 4);                         // (4 + 2 + 6) / 3
  CHECK(rows[1].tokens_per_response == Approx(14 / 6.0));        // of both examples: (1 + 3 + 2) + (1 + 3 + 4)
  CHECK(rows[1].tokens_per_example == Approx((23 + 25) / 2.0));  // 5 + 12 + 4 + the answer
  CHECK(rows[2].source == "total");
  CHECK(rows[2].comparisons == 3);
  CHECK(rows[2].turns == Approx(5 / 3.0));
  CHECK(rows[2].tokens_per_prompt == Approx(16 / 5.0));
  CHECK(rows[2].tokens_per_response == Approx(24 / 10.0));
  CHECK(to_json(rows[1])["tokens_per_prompt"] == 4);
}

TEST_CASE("statistics: an empty set has a total of nothing", "[data]") {
  const auto rows = pair_statistics({}, ByteTokenizer());
  REQUIRE(rows.size() == 1);
  CHECK(rows[0].comparisons == 0);
  CHECK(rows[0].tokens_per_example == 0);
}

TEST_CASE("statistics: equal pairs are duplicates, swapped ones contradictions", "[data]") {
  PreferenceSet set = set_of({pair_of("q", "a", "b"), pair_of("q", "a", "b"), pair_of("q", "b", "a"), pair_of("q", "b", "a"),
                              pair_of("Q", "a", "b"), pair_of("q", "a", "c"), pair_of("q", "a", "b")});
  const Repeats repeats = count_repeats(set);
  CHECK(repeats.duplicates == 3);
  CHECK(repeats.contradictions == 1);
  drop_duplicates_(set);
  REQUIRE(set.pairs.size() == 4);
  CHECK(set.lines == std::vector<int64_t>{10, 12, 14, 15});
  CHECK(set.counts.kept == 4);
  CHECK(set.counts.dropped == std::map<std::string, int64_t>{{"duplicate", 3}});
  CHECK(count_repeats(set).duplicates == 0);
  CHECK(count_repeats(set).contradictions == 1);
}

TEST_CASE("statistics: pairs of a later set that repeat or contradict one of an earlier", "[data]") {
  const PreferenceSet earlier = set_of({pair_of("q", "a", "b"), pair_of("q", "c", "d"), pair_of("q", "d", "c")});
  const Repeats repeats = count_repeats_of(earlier, set_of({pair_of("q", "a", "b"), pair_of("q", "b", "a"), pair_of("q", "c", "d"),
                                                            pair_of("Q", "a", "b"), pair_of("q", "a", "c")}));
  CHECK(repeats.duplicates == 2);
  CHECK(repeats.contradictions == 2);  // "c" over "d" contradicts the earlier "d" over "c", and repeats the other one
}

TEST_CASE("statistics: a text that could be read as two does not make pairs equal", "[data]") {
  CHECK(count_repeats(set_of({pair_of("q", "a\",\"b", "c"), pair_of("q", "a", "b\",\"c")})).duplicates == 0);
}

TEST_CASE("statistics: prompts in both sets are found whatever their blanks and case", "[data]") {
  CHECK(prompt_key({{{"user", " Who  sells\tBread? "}}}) == prompt_key({{{"user", "who sells bread?"}}}));
  CHECK(prompt_key({{{"user", "whosells bread?"}}}) != prompt_key({{{"user", "who sells bread?"}}}));
  CHECK(prompt_key({{{"user", "a"}, {"assistant", "b"}}}) != prompt_key({{{"user", "a"}, {"user", "b"}}}));
  CHECK(prompt_key({{{"user", "\xc3\x84"}}}) != prompt_key({{{"user", "\xc3\xa4"}}}));  // ASCII alone

  PreferenceSet train =
      set_of({pair_of("Who?", "a", "b"), pair_of("where?", "a", "b"), pair_of("who? ", "c", "d"), pair_of("what?", "a", "b")});
  const PreferenceSet test = set_of({pair_of("who?", "x", "y"), pair_of("What?", "x", "y"), pair_of("how?", "x", "y")});
  const SharedPrompts shared = shared_prompts(train, test);
  CHECK(shared.prompts == 2);
  CHECK(shared.train_pairs == 3);
  CHECK(shared.test_pairs == 2);
  drop_shared_prompts_(train, test);
  REQUIRE(train.pairs.size() == 1);
  CHECK(train.pairs[0].prompt.messages[0].content == "where?");
  CHECK(train.lines == std::vector<int64_t>{11});
  CHECK(train.counts.dropped["prompt_in_test"] == 3);
  CHECK(shared_prompts(train, test).prompts == 0);
}
