#include "red_team/logs.h"

#include <filesystem>

#include "core/error.h"
#include "support/test_plain.h"

namespace keel::red_team {

using Catch::Matchers::ContainsSubstring;

namespace {

// An attempt of one exchange: by `person`, or where there is none by an automatic search with these settings.
void write_attempt(AttemptLog& log, const std::string& person, const std::string& text, double seconds,
                   const nlohmann::json& settings = {}) {
  Attempt opening;
  opening.model = "V1";
  opening.digest = "d1";
  opening.source = person.empty() ? "plain" : "person";
  opening.person = person;
  opening.request = "lock";
  opening.category = "illicit";
  opening.vectors = {"logic"};
  opening.settings = settings;
  const int64_t number = log.next();
  log.record({opening_row(number, opening), turn_row(number, {"user", text}, seconds), turn_row(number, {"assistant", "no"})});
}

}  // namespace

TEST_CASE("logs: a log that is given twice, by its name or as a copy, is refused with both names", "[red_team]") {
  const test::TemporaryFolder folder;
  const auto ann = folder / "ann.jsonl", bob = folder / "bob.jsonl", plain = folder / "plain.jsonl", copy = folder / "copy.jsonl";
  {
    AttemptLog log_of_ann(ann), log_of_bob(bob), automatic(plain);
    write_attempt(log_of_ann, "ann", "open it", 4.25);
    write_attempt(log_of_ann, "ann", "please", 2.5);
    write_attempt(log_of_bob, "bob", "open it", 4.25);
    write_attempt(automatic, "", "open it", 0, {{"seed", 1}});
    write_attempt(automatic, "", "open it", 0);
  }
  CHECK(read_logs({ann, bob, plain}).size() == 5);
  CHECK_THROWS_AS(read_logs({ann, bob, ann}), core::UsageError);
  CHECK_THROWS_WITH(read_logs({ann, folder / "." / "ann.jsonl"}), ContainsSubstring("ann.jsonl are one log, which would count twice"));
  std::filesystem::create_symlink(ann, folder / "link.jsonl");
  CHECK_THROWS_AS(read_logs({ann, folder / "link.jsonl"}), core::UsageError);

  // A copy that went on: a second person rated in it, and there are further attempts.
  std::filesystem::copy_file(ann, copy);
  {
    AttemptLog log(copy);
    log.record({rating_row(1, {"cid", 2}, "illicit", {"logic"}, 0)});
    write_attempt(log, "ann", "now", 1);
  }
  CHECK_THROWS_WITH(read_logs({ann, copy}),
                    ContainsSubstring("copy.jsonl:1: the attempt stands at ") && ContainsSubstring("ann.jsonl:1 too"));
  std::filesystem::copy_file(plain, folder / "again.jsonl");
  CHECK_THROWS_AS(read_logs({plain, folder / "again.jsonl"}), core::DataError);

  // Another seed draws other scripts, of which some get the same answer.
  {
    AttemptLog other(folder / "seed2.jsonl");
    write_attempt(other, "", "open it", 0, {{"seed", 2}});
    write_attempt(other, "", "open it", 0);
  }
  CHECK(read_logs({plain, folder / "seed2.jsonl"}).size() == 4);
}

TEST_CASE("logs: a missing log and one without attempts alone are errors that name the file; so is a name with other capitals",
          "[red_team]") {
  const test::TemporaryFolder folder;
  test::write_text(folder / "empty.jsonl", "");
  {
    AttemptLog ann(folder / "ann.jsonl"), other(folder / "other.jsonl");
    write_attempt(ann, "ann", "open it", 4);
    write_attempt(other, "Ann", "please", 5);
  }
  CHECK_THROWS_WITH(read_logs({folder / "empty.jsonl"}), ContainsSubstring("empty.jsonl: holds no attempt"));
  CHECK(read_logs({folder / "ann.jsonl", folder / "empty.jsonl"}).size() == 1);
  CHECK_THROWS_AS(read_logs({folder / "ann.jsonl", folder / "none.jsonl"}), core::UsageError);
  CHECK_THROWS_WITH(read_logs({folder / "ann.jsonl", folder / "other.jsonl"}),
                    ContainsSubstring("other.jsonl:1: \"person\" is \"Ann\" here and \"ann\" at ") && ContainsSubstring("ann.jsonl:1"));
}

}  // namespace keel::red_team
