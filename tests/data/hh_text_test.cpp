#include "data/hh_text.h"

#include <stdexcept>

#include "support/test_plain.h"

using keel::core::Dialogue;
using keel::core::Message;
using keel::data::dialogue_of_prompt;
using keel::data::join_turns;
using keel::data::split_hh_text;

TEST_CASE("hh text: turns are cut at the markers and lose the blanks around them", "[data]") {
  CHECK(split_hh_text("\n\nHuman: hi\n\nAssistant: yo\n\nthere \n\nHuman:\n\nAssistant:") ==
        std::vector<Message>{{"user", "hi"}, {"assistant", "yo\n\nthere"}, {"user", ""}, {"assistant", ""}});
}

TEST_CASE("hh text: only the exact markers cut", "[data]") {
  CHECK(split_hh_text("\n\nHuman: a\nHuman: b\n\nHumans: c  Assistant: d").size() == 1);
  CHECK(split_hh_text("\n\nHuman: a\n\n\nHuman: b") == std::vector<Message>{{"user", "a"}, {"user", "b"}});
}

TEST_CASE("hh text: what does not begin with a marker is refused", "[data]") {
  CHECK_THROWS_AS(split_hh_text("Human: hi"), std::invalid_argument);
  CHECK_THROWS_AS(split_hh_text(" \n\nHuman: hi"), std::invalid_argument);
  CHECK_FALSE(keel::data::is_hh_text(""));
}

TEST_CASE("hh text: consecutive turns of one role are joined by a newline", "[data]") {
  CHECK(join_turns({{"user", "a"}, {"user", "b"}, {"assistant", "c"}, {"assistant", ""}, {"assistant", "d"}}) ==
        Dialogue{{{"user", "a\nb"}, {"assistant", "c\n\nd"}}});
  CHECK(join_turns({}) == Dialogue{});
}

TEST_CASE("a prompt string is one user turn, kept as it is, unless it is HH-RLHF text", "[data]") {
  CHECK(dialogue_of_prompt(" How? \n") == Dialogue{{{"user", " How? \n"}}});
  CHECK(dialogue_of_prompt("How?\n\nHuman: x") == Dialogue{{{"user", "How?\n\nHuman: x"}}});
  const Dialogue turns = {{{"user", "a"}, {"assistant", "b"}, {"user", "c"}}};
  CHECK(dialogue_of_prompt("\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:") == turns);
  CHECK(dialogue_of_prompt("\n\nHuman: a\n\nAssistant: b\n\nHuman: c") == turns);
  CHECK(dialogue_of_prompt("\n\nHuman: a\n\nHuman: b\n\nAssistant: ") == Dialogue{{{"user", "a\nb"}}});
}

TEST_CASE("hh text that ends inside an answer is no prompt", "[data]") {
  CHECK_THROWS_AS(dialogue_of_prompt("\n\nHuman: a\n\nAssistant: b"), std::invalid_argument);
  CHECK_THROWS_AS(dialogue_of_prompt("\n\nAssistant:"), std::invalid_argument);
}

TEST_CASE("the blank between \"Assistant:\" and its answer is layout after HH-RLHF text, and the answer's own elsewhere", "[data]") {
  CHECK(dialogue_of_prompt("\n\nHuman: a\n\nAssistant:", " b ") == Dialogue{{{"user", "a"}, {"assistant", "b"}}});
  CHECK(dialogue_of_prompt("a", " b ") == Dialogue{{{"user", "a"}, {"assistant", " b "}}});
}
