#include "core/row_log.h"

#include "core/error.h"
#include "support/test_plain.h"

using keel::core::RowLog;
using keel::test::read_text;
using keel::test::TemporaryFolder;
using keel::test::write_text;

TEST_CASE("row log: goes on at the checkpoint's offset, without lines that come again and without a torn one", "[core]") {
  const TemporaryFolder folder;
  int64_t offset = 0;
  {
    RowLog log(folder / "rows.jsonl");
    log.append("{\"step\":1}");
    log.sync();
    offset = log.offset();
    CHECK(offset == 11);
    log.append("{\"step\":1,\"of\":\"the same step, after the checkpoint\"}");
  }
  std::ofstream(folder / "rows.jsonl", std::ios::app) << "{\"ste";
  {
    RowLog log(folder / "rows.jsonl", offset);
    CHECK(log.offset() == offset);
    log.append("{\"step\":2}");
  }
  CHECK(read_text(folder / "rows.jsonl") == "{\"step\":1}\n{\"step\":2}\n");
  { RowLog fresh(folder / "rows.jsonl"); }
  CHECK(read_text(folder / "rows.jsonl").empty());
}

TEST_CASE("row log: a file that is not the checkpoint's is refused untouched", "[core]") {
  const TemporaryFolder folder;
  const std::string lines = "{\"step\":1}\n{\"step\":2}\n";
  write_text(folder / "rows.jsonl", lines);
  for (const int64_t offset : {12, 23})  // inside a line, beyond the end
    CHECK_THROWS_AS(RowLog(folder / "rows.jsonl", offset), keel::core::DataError);
  CHECK(read_text(folder / "rows.jsonl") == lines);
  CHECK_THROWS_AS(RowLog(folder / "none/rows.jsonl"), keel::core::UsageError);
}

TEST_CASE("row log: a name without a folder lies in the current one", "[core]") {
  const TemporaryFolder folder;
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path());
  {
    RowLog log("rows.jsonl");
    log.append("{}");
    CHECK_NOTHROW(log.sync());
  }
  std::filesystem::current_path(before);
  CHECK(read_text(folder / "rows.jsonl") == "{}\n");
}
