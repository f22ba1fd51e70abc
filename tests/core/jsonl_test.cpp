#include "core/jsonl.h"

#include <nlohmann/json.hpp>

#include "child_process.h"
#include "core/compression.h"
#include "core/interrupt.h"
#include "support/test_plain.h"

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::EndsWith;
using keel::core::DataError;
using keel::core::JsonlReader;
using keel::core::JsonlWriter;
using keel::core::LineReader;
using keel::test::read_text;
using keel::test::run_child;
using keel::test::TemporaryFolder;
using keel::test::write_text;
using nlohmann::json;

namespace {

std::string from_hex(const std::string& digits) {
  std::string bytes;
  for (size_t i = 0; i < digits.size(); i += 2)
    bytes += static_cast<char>(std::stoi(digits.substr(i, 2), nullptr, 16));
  return bytes;
}

// Made by tools/oracle/core_archives.py: {"a": 1} to {"a": 3} with the break between the parts inside the second row. The zstd one
// holds a skippable frame between its two data frames, and checksums.
const char* const kGzip =
    "1f8b0800000000000203ab564a54b25230ace5aa06338c6a01121545b0110000001f8b0800000000000203e3aa564a54b25230aee502008599624d0a000000";
const char* const kZstd =
    "28b52ffd24118900007b2261223a20317d0a7b2261223a20327d2471fc15532a4d180300000061626328b52ffd240a5100000a7b2261223a20337d0af21a7bb0";

std::vector<std::string> lines_of(const std::filesystem::path& path) {
  LineReader reader(path);
  std::vector<std::string> lines;
  for (std::string line; reader.next(line);)
    lines.push_back(line);
  return lines;
}

std::vector<json> rows_of(const std::filesystem::path& path) {
  JsonlReader reader(path);
  std::vector<json> rows;
  for (json row; reader.next(row);)
    rows.push_back(row);
  return rows;
}

std::string reading_error(const std::filesystem::path& path) {
  try {
    rows_of(path);
  } catch (const DataError& error) {
    return error.what();
  }
  return "no error";
}

std::string lines_error(const std::filesystem::path& path) {
  try {
    lines_of(path);
  } catch (const DataError& error) {
    return error.what();
  }
  return "no error";
}

using Lines = std::vector<std::string>;

}  // namespace

TEST_CASE("lines: breaks, the byte order mark and a missing last break", "[core]") {
  const TemporaryFolder folder;
  const auto lines = [&](const std::string& text) {
    write_text(folder / "t", text);
    return lines_of(folder / "t");
  };
  CHECK(lines("").empty());
  CHECK(lines("a\nb\n") == Lines{"a", "b"});
  CHECK(lines("a\nb") == Lines{"a", "b"});
  CHECK(lines("a\r\n\r\nb\r\n") == Lines{"a", "", "b"});
  CHECK(lines("\n\n") == Lines{"", ""});
  CHECK(lines("\xEF\xBB\xBF"
              "a\n\xEF\xBB\xBF"
              "b") == Lines{"a",
                            "\xEF\xBB\xBF"
                            "b"});
  CHECK(lines("a\rb\n") == Lines{"a\rb"});
  CHECK_THROWS_AS(lines_of(folder / "none"), keel::core::UsageError);
}

TEST_CASE("lines: long ones cross the pieces a file is read in", "[core]") {
  const TemporaryFolder folder;
  Lines expected;
  std::string text;
  for (size_t i = 0; i < 60; ++i) {
    expected.push_back(std::string(i * 997 * 10, static_cast<char>('a' + i % 26)));
    text += expected.back() + "\n";
  }
  write_text(folder / "t", text);
  CHECK(lines_of(folder / "t") == expected);
}

TEST_CASE("lines: one of 64 MiB is read, a longer one is refused", "[core]") {
  const TemporaryFolder folder;
  const auto write_line = [&](size_t length) {  // compressed, to spare the disk
    std::string bytes;
    const auto compressor = keel::core::make_compressor("t.zst", [&](std::string_view piece) { bytes += piece; });
    compressor->write("first\n" + std::string(length, 'x') + "\nlast\n");
    compressor->finish();
    write_text(folder / "t", bytes);
  };
  write_line(size_t{64} << 20);
  CHECK(lines_of(folder / "t").size() == 3);
  write_line((size_t{64} << 20) + 1);
  CHECK_THAT(lines_error(folder / "t"), ContainsSubstring("t:2: the line is longer than 64 MiB"));
}

TEST_CASE("lines: invalid UTF-8 is an error with its line", "[core]") {
  const TemporaryFolder folder;
  for (const std::string bad : {"\xFF", "\xC0\xAF", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE2\x82"}) {
    write_text(folder / "t", "good\ngo" + bad + "\n");
    CHECK_THAT(lines_error(folder / "t"), ContainsSubstring("t:2: invalid UTF-8 at byte 3"));
  }
  write_text(folder / "t", std::string("\xFF\xFE{\0}\0\n\0", 8));  // UTF-16
  CHECK_THAT(lines_error(folder / "t"), ContainsSubstring("UTF-16") && ContainsSubstring("iconv"));
}

TEST_CASE("json rows: one list of objects is read like lines, with the line of each object", "[core]") {
  const TemporaryFolder folder;
  const auto read = [&](const std::string& text) {
    write_text(folder / "t.json", text);
    std::vector<std::pair<int64_t, json>> rows;
    JsonlReader reader(folder / "t.json");
    for (json row; reader.next(row);)
      rows.emplace_back(reader.line(), row);
    CHECK_FALSE([&] {
      json row;
      return reader.next(row);  // the end stays the end
    }());
    return rows;
  };
  using Rows = std::vector<std::pair<int64_t, json>>;
  const Rows pretty = read("\n[\n  {\n    \"a\": \"x ] } , \\\" { [\",\n    \"b\": [1, {\"c\": 2}]\n  },\n\n  {\"a\": \"\\\\\"}\n]\n\n");
  CHECK(pretty == Rows{{3, {{"a", "x ] } , \" { ["}, {"b", {1, {{"c", 2}}}}}}, {8, {{"a", "\\"}}}});
  CHECK(read("[{\"a\": 1}, {\"a\": 2},\n{\"a\": 3}]") == Rows{{1, {{"a", 1}}}, {1, {{"a", 2}}}, {2, {{"a", 3}}}});
  CHECK(read("[]").empty());
  CHECK(read(" [ ] \n").empty());
  for (const auto& [text, words] : {std::pair{"[{\"a\": 1}\n", "t.json:1: the JSON list ends without"},
                                    {"[{\"a\": 1},\n]", "t.json:2: the JSON list ends behind a comma"},
                                    {"[{\"a\": 1}\n{\"a\": 2}]", "t.json:2: the JSON list has no comma"},
                                    {"[,{\"a\": 1}]", "a comma without an object"},
                                    {"[{\"a\": 1},,{\"a\": 1}]", "a comma without an object"},
                                    {"[{\"a\": 1}]\n{\"a\": 2}", "t.json:2: there is text behind"},
                                    {"[1, 2]", "t.json:1: a JSON list must hold objects"},
                                    {"[\n{\"a\": }]", "t.json:2:"},
                                    {"[\n{\"a\": 1", "t.json:2: the JSON list ends without"}}) {
    INFO(text);
    CHECK_THROWS_WITH(read(text), ContainsSubstring(words));
  }
}

TEST_CASE("json rows: a table and other well-known forms are called by their names", "[core]") {
  const TemporaryFolder folder;
  const auto complaint = [&](const std::string& text) {
    write_text(folder / "t.jsonl", text);
    try {
      JsonlReader reader(folder / "t.jsonl");
      json row;
      reader.next(row);
      return std::string();
    } catch (const DataError& error) {
      return std::string(error.what());
    }
  };
  CHECK_THAT(complaint("{\n  \"a\": 1\n}\n"), ContainsSubstring("a JSON object over several lines") && ContainsSubstring("jq -c ."));
  CHECK_THAT(complaint("prompt,chosen,rejected\nq,a,b\n"), ContainsSubstring("(CSV)") && ContainsSubstring("JSON lines"));
  CHECK_THAT(complaint("prompt\tchosen\nq\ta\n"), ContainsSubstring("(TSV)"));
  CHECK_THAT(complaint("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"), ContainsSubstring("is a Git LFS pointer"));
  CHECK_THAT(complaint("<!DOCTYPE html>\n"), ContainsSubstring("is a web page"));
  CHECK(complaint("{\"a\": 1}\n").empty());
  CHECK(complaint("").empty());
  CHECK_THAT(complaint("7\n"), ContainsSubstring("a row must be a JSON object, got number"));
}

TEST_CASE("archives: joined gzip members and zstd frames are read as one text, whatever the name", "[core]") {
  const TemporaryFolder folder;
  const std::vector<json> expected = {{{"a", 1}}, {{"a", 2}}, {{"a", 3}}};
  for (const std::string name : {"rows.jsonl", "rows.jsonl.gz", "rows.jsonl.zst"}) {
    write_text(folder / name, from_hex(kGzip));
    CHECK(rows_of(folder / name) == expected);
    write_text(folder / name, from_hex(kZstd));
    CHECK(rows_of(folder / name) == expected);
    write_text(folder / name, "{\"a\": 1}\n{\"a\": 2}\n{\"a\": 3}\n");
    CHECK(rows_of(folder / name) == expected);
  }
}

TEST_CASE("archives: cut short anywhere, they are an error and never a shorter text", "[core]") {
  const TemporaryFolder folder;
  for (const auto& [hex, name] : {std::pair(kGzip, "t.gz"), std::pair(kZstd, "t.zst")}) {
    const std::string whole = from_hex(hex);
    size_t good = 0;
    for (size_t size = 0; size < whole.size(); ++size) {
      write_text(folder / name, whole.substr(0, size));
      const std::string problem = reading_error(folder / name);
      if (problem != "no error") continue;
      ++good;
      // Only the complete members are kept: the first part.
      CHECK(rows_of(folder / name) == std::vector<json>{{{"a", 1}}, {{"a", 2}}});
    }
    CHECK(good == (std::string(name) == "t.gz" ? 1 : 2));  // after the first member; after the first frame and the skippable one
  }
}

TEST_CASE("archives: a changed byte is found by the checksum, text behind an archive is refused", "[core]") {
  const TemporaryFolder folder;
  std::string gzip = from_hex(kGzip), zstd = from_hex(kZstd);
  gzip[25] = static_cast<char>(gzip[25] ^ 1);  // in the first member's CRC-32
  zstd[14] = static_cast<char>(zstd[14] ^ 1);  // in the first frame's text
  write_text(folder / "t.gz", gzip);
  write_text(folder / "t.zst", zstd);
  CHECK_THAT(reading_error(folder / "t.gz"), ContainsSubstring("t.gz: the gzip archive is broken: incorrect data check"));
  CHECK_THAT(reading_error(folder / "t.zst"), ContainsSubstring("t.zst: the zstd archive is broken"));
  write_text(folder / "t.gz", from_hex(kGzip) + "{\"a\": 4}\n");
  write_text(folder / "t.zst", from_hex(kZstd) + "{\"a\": 4}\n");
  CHECK_THAT(reading_error(folder / "t.gz"), ContainsSubstring("broken"));
  CHECK_THAT(reading_error(folder / "t.zst"), ContainsSubstring("broken"));
}

TEST_CASE("jsonl: blank lines are skipped and still counted", "[core]") {
  const TemporaryFolder folder;
  write_text(folder / "t", "\n{\"a\": 1}\n  \t\r\n{\"a\": 2}");
  JsonlReader reader(folder / "t");
  json row;
  REQUIRE(reader.next(row));
  CHECK(reader.line() == 2);
  REQUIRE(reader.next(row));
  CHECK(reader.line() == 4);
  CHECK(row["a"] == 2);
  CHECK_FALSE(reader.next(row));
}

TEST_CASE("jsonl: what is no object or no JSON is an error with file and line", "[core]") {
  const TemporaryFolder folder;
  const auto problem = [&](const std::string& second) {
    write_text(folder / "t", "{}\n" + second + "\n");
    return reading_error(folder / "t");
  };
  CHECK_THAT(problem("[1]"), EndsWith("t:2: a row must be a JSON object, got array"));
  CHECK_THAT(problem("null"), ContainsSubstring("t:2: "));
  CHECK_THAT(problem("{\"a\": 1"), ContainsSubstring("t:2: invalid JSON"));
  CHECK_THAT(problem("{} {}"), ContainsSubstring("t:2: invalid JSON"));
  CHECK_THAT(problem("{} // comment"), ContainsSubstring("t:2: invalid JSON"));
  CHECK_THAT(problem("{\"a\": 1, \"a\": 2}"), ContainsSubstring("t:2: ") && ContainsSubstring("duplicate key"));
  CHECK_THAT(problem(std::string("{}\0", 3)), ContainsSubstring("t:2: ") && ContainsSubstring("zero byte"));
}

TEST_CASE("jsonl: rows written are rows read, plain and compressed, and appear at commit", "[core]") {
  const TemporaryFolder folder;
  for (const std::string name : {"out.jsonl", "out.jsonl.gz", "out.jsonl.zst"}) {
    std::vector<json> rows;
    {
      JsonlWriter writer(folder / name);
      for (int i = 0; i < 3000; ++i) {
        rows.push_back({{"index", i}, {"score", i / 7.0}, {"text", std::string(static_cast<size_t>(i % 100), 'x') + "\n\xC3\xA9"}});
        writer.write(rows.back());
      }
      CHECK_FALSE(std::filesystem::exists(folder / name));
      writer.commit();
    }
    CHECK(rows_of(folder / name) == rows);
    { JsonlWriter(folder / name).write({{"lost", 1}}); }  // no commit
    CHECK(rows_of(folder / name) == rows);
    JsonlWriter(folder / name).commit();
    CHECK(rows_of(folder / name).empty());
  }
  CHECK(read_text(folder / "out.jsonl.gz").starts_with("\x1F\x8B"));
  CHECK(read_text(folder / "out.jsonl.zst").starts_with("\x28\xB5\x2F\xFD"));
}

TEST_CASE("jsonl: an empty path or - is standard output", "[core]") {
  const TemporaryFolder folder;
  for (const std::string path : {"", "-"}) {
    const int status = run_child([&] {
      keel::test::redirect(STDOUT_FILENO, folder / "out");
      JsonlWriter writer(path);
      writer.write({{"b", 1}, {"a", 2}});
      if (read_text(folder / "out") != "{\"a\":2,\"b\":1}\n") return 1;  // at once
      writer.write({{"c", 3}});
      writer.commit();
      return 0;
    });
    CHECK(status == 0);
    CHECK(read_text(folder / "out") == "{\"a\":2,\"b\":1}\n{\"c\":3}\n");
    std::filesystem::remove(folder / "out");
  }
}

TEST_CASE("jsonl: a full disk behind standard output is an I/O error", "[core]") {
  const int status = run_child([] {
    keel::test::redirect(STDOUT_FILENO, "/dev/full");
    try {
      JsonlWriter("-").write({{"a", 1}});
    } catch (const keel::core::IoError&) {
      return 7;
    }
    return 0;
  });
  CHECK(WEXITSTATUS(status) == 7);
}

TEST_CASE("jsonl: once a signal has come no further row is read", "[core]") {
  const TemporaryFolder folder;
  write_text(folder / "rows.jsonl", "{}\n{}\n");
  JsonlReader reader(folder / "rows.jsonl");
  json row;
  CHECK(reader.next(row));
  keel::core::request_interrupt();
  CHECK_THROWS_AS(reader.next(row), keel::core::Interrupted);
  CHECK_THROWS_WITH(reader.next(row), ContainsSubstring("rows.jsonl"));
  keel::core::clear_interrupt();
  CHECK(reader.next(row));
}
