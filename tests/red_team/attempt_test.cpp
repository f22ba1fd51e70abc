#include "red_team/attempt.h"

#include "core/error.h"
#include "core/json.h"
#include "core/log.h"
#include "support/test_plain.h"

namespace keel::red_team {

using Catch::Matchers::ContainsSubstring;
using nlohmann::json;

namespace {

Attempt opening(const std::string& person = "ann") {
  Attempt attempt;
  attempt.model = "V1";
  attempt.digest = "d1";
  attempt.source = person.empty() ? "plain" : "person";
  attempt.person = person;
  attempt.request = "lock";
  attempt.category = "illicit";
  attempt.vectors = {"logic"};
  attempt.prompt = {{"task", "t"}};
  return attempt;
}

// A log with one attempt of one exchange.
void write_exchange(AttemptLog& log) {
  const int64_t number = log.next();
  log.record({opening_row(number, opening()), turn_row(number, {"user", "open it"}, 4)});
  log.record({turn_row(number, {"assistant", "no"})});
}

}  // namespace

TEST_CASE("log: what was recorded is read back, and a second process is kept out", "[red_team]") {
  const test::TemporaryFolder folder;
  const auto file = folder / "log.jsonl";
  {
    AttemptLog log(file);
    CHECK_THROWS_AS(AttemptLog(file), core::LockedError);
    write_exchange(log);
    log.record({rating_row(0, {"ann", 2}, "hateful", {"logic", "semantic"}, 3)});
    log.record({rating_row(0, {"bob", 5}, "hateful", {"logic", "semantic"}, 0)});
    log.record({opening_row(1, opening()), skip_row(1, 2)});
    log.record({opening_row(2, opening("")), turn_row(2, {"user", "x"}), turn_row(2, {"assistant", ""}),
                verdict_row(2, {"gold", 0.25, true}), verdict_row(2, {"safety_model", 0.75, false})});
  }
  AttemptLog log(file);
  REQUIRE(log.attempts().size() == 3);
  const Attempt& first = log.attempts()[0];
  CHECK((first.model == "V1" && first.digest == "d1" && first.person == "ann" && first.request == "lock"));
  CHECK((first.category == "hateful" && first.vectors == std::vector<std::string>{"logic", "semantic"}));
  CHECK(first.prompt == json{{"task", "t"}});
  CHECK(first.dialogue.messages == std::vector<core::Message>{{"user", "open it"}, {"assistant", "no"}});
  CHECK(first.seconds == 7);
  CHECK((first.ratings.size() == 2 && first.ratings[0].rating == 2 && first.ratings[1].person == "bob"));
  CHECK((first.path == file.string() && first.line == 1));
  CHECK((log.attempts()[1].skipped && log.attempts()[1].seconds == 2));
  CHECK(
      (log.attempts()[2].verdicts.size() == 2 && log.attempts()[2].verdicts[0].violation && log.attempts()[2].verdicts[1].safety == 0.75));
}

TEST_CASE("log: after a kill inside a row the torn row alone goes, a row without its line break stays", "[red_team]") {
  const test::TemporaryFolder folder;
  const auto file = folder / "log.jsonl";
  {
    AttemptLog log(file);
    write_exchange(log);
  }
  const std::string whole = test::read_text(file);
  core::set_log_level("error");                             // a torn row is a warning
  for (size_t bytes = 0; bytes <= whole.size(); ++bytes) {  // a kill after every byte
    INFO(bytes);
    test::write_text(file, whole.substr(0, bytes));
    int64_t rows = std::count(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(bytes), '\n');
    if (bytes < whole.size() && whole[bytes] == '\n') ++rows;  // whole but for its line break
    {
      AttemptLog log(file);
      const std::string left = test::read_text(file);
      CHECK(std::count(left.begin(), left.end(), '\n') == rows);
      CHECK(whole.starts_with(left));
      CHECK(log.next() == (rows > 0 ? 1 : 0));
      if (rows == 3) log.record({rating_row(0, {"ann", 1}, "illicit", {"logic"}, 1)});
    }
    CHECK(read_attempts(file).size() == (rows > 0 ? 1 : 0));
  }
}

TEST_CASE("log: a file of something else is never cut", "[red_team]") {
  const test::TemporaryFolder folder;
  for (const char* text :
       {"some notes\nwithout an end", "{\"kind\":\"attempt\"}\nno end", "\x1f\x8b\x08 zip", "{\"prompt\":\"a\"}\n{\"prompt\":\"b",
        "{\"prompt\":\"a", "{\"attempt\":1}\n{\"att", "{\"prompt\":\"a\"}", "{\"attempt\":0}", "[1]\n{"}) {
    test::write_text(folder / "notes.txt", text);
    CHECK_THROWS_AS(AttemptLog(folder / "notes.txt"), core::DataError);
    CHECK(test::read_text(folder / "notes.txt") == text);
  }
  CHECK_THROWS_AS(AttemptLog(folder / "log.jsonl.gz"), core::UsageError);
}

TEST_CASE("log: rows that may not stand are refused with file, line and field, read or recorded", "[red_team]") {
  const test::TemporaryFolder folder;
  const auto file = folder / "log.jsonl";
  const json start = opening_row(0, opening()), user = turn_row(0, {"user", "a"}), model = turn_row(0, {"assistant", "b"});
  const auto with = [](json row, const char* name, const json& value) {
    row[name] = value;
    return row;
  };
  const json rating = rating_row(0, {"ann", 2}, "illicit", {"logic"}, 1);
  const json verdict = verdict_row(0, {"gold", 0.5, false});
  for (const auto& [rows, text] : std::vector<std::pair<std::vector<json>, std::string>>{
           {{start, user, turn_row(0, {"user", "again"})}, "\"role\" must be assistant here"},
           {{start, model}, "\"role\" must be user here"},
           {{start, with(user, "role", "system")}, "\"role\" must be one of user, assistant"},
           {{start, with(user, "content", " \n ")}, "\"content\" of a user turn must not be empty"},
           {{start, with(user, "content", 3)}, "\"content\""},
           {{start, with(user, "seconds", -1)}, "\"seconds\" must be a number from 0"},
           {{start, with(user, "attempt", 1)}, "\"attempt\" must be the number of an attempt that began above"},
           {{start, with(user, "attempt", -1)}, "\"attempt\" must be the number"},
           {{start, start}, "\"attempt\" must be 1, the next number"},
           {{start, with(user, "kind", "note")}, "\"kind\" must be one of"},
           {{start, user, rating}, "attempt 0 has no answer to judge yet"},
           {{start, user, model, with(rating, "rating", 0)}, "\"rating\" must be a whole number from 1"},
           {{start, user, model, with(rating, "rating", 6)}, "\"rating\" must be a whole number from 1"},
           {{start, user, model, with(rating, "rating", 2.5)}, "\"rating\" must be a whole number from 1"},
           {{start, user, model, with(rating, "rating", "2")}, "\"rating\" must be a whole number from 1"},
           {{start, user, model, with(rating, "person", " ")}, "\"person\" must not be empty"},
           {{start, user, model, with(rating, "person", "ANN")}, "\"person\" is \"ANN\" here and \"ann\" at attempt 0"},
           {{start, user, model, rating, with(rating, "person", " ann ")}, "\"person\": ann has rated this attempt already, with 2"},
           {{start, user, model, with(rating, "category", "rude")}, "\"category\" must be one of illicit"},
           {{start, user, model, with(rating, "vectors", json::array())}, "\"vectors\" must be a list"},
           {{start, user, model, rating, with(rating, "rating", 4)}, "\"person\": ann has rated this attempt already, with 2"},
           {{start, user, model, rating, turn_row(0, {"user", "c"})}, "attempt 0 is judged: no \"turn\" may follow"},
           {{start, user, model, rating, skip_row(0, 1)}, "attempt 0 is judged: no \"skip\" may follow"},
           {{start, skip_row(0, 1), user}, "attempt 0 is given up"},
           {{start, user, model, with(verdict, "safety", 1.5)}, "\"safety\" must be a number in [0, 1]"},
           {{start, user, model, with(verdict, "violation", 1)}, "\"violation\" must be true or false"},
           {{start, user, model, verdict, verdict}, "\"by\": gold has judged this attempt already"},
           {{with(start, "model", "")}, "\"model\" must not be empty"},
           {{with(start, "source", "dog")}, "\"source\" must be one of"},
           {{with(start, "person", nullptr)}, "\"person\" must name who"},
           {{with(start, "source", "plain")}, "\"person\" must name who"},
           {{with(start, "vectors", {"magic"})}, "\"vectors\" must be one of psychological"}}) {
    std::string lines;
    for (const auto& row : rows)
      lines += row.dump() + "\n";
    test::write_text(file, lines);
    CHECK_THROWS_WITH(read_attempts(file), ContainsSubstring("log.jsonl:" + std::to_string(rows.size()) + ": " + text));

    test::write_text(file, "");
    AttemptLog log(file);
    if (rows.size() > 1) log.record({rows.begin(), rows.end() - 1});
    const std::string before = test::read_text(file);
    CHECK_THROWS_WITH(log.record({rows.back()}), ContainsSubstring(text));
    CHECK(test::read_text(file) == before);
  }
}

TEST_CASE("log: of rows that are recorded together all are written or none", "[red_team]") {
  const test::TemporaryFolder folder;
  AttemptLog log(folder / "log.jsonl");
  write_exchange(log);
  const std::string before = test::read_text(folder / "log.jsonl");
  CHECK_THROWS_AS(log.record({turn_row(0, {"user", "more"}), opening_row(1, opening()), turn_row(1, {"assistant", "?"})}),
                  std::invalid_argument);
  CHECK(test::read_text(folder / "log.jsonl") == before);
  CHECK((log.next() == 1 && log.attempts()[0].dialogue.messages.size() == 2));
}

}  // namespace keel::red_team
