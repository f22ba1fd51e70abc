#include "core/metrics.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/error.h"
#include "support/test_plain.h"

using keel::core::MetricRow;
using keel::core::Metrics;
using keel::core::read_metrics;
using keel::test::read_text;
using keel::test::TemporaryFolder;
using keel::test::write_text;

namespace {

std::vector<std::filesystem::path> event_files(const TemporaryFolder& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    if (entry.path().filename().string().starts_with("events.out.tfevents.")) files.push_back(entry.path());
  }
  return files;
}

template <class T>
T read_as(const std::string& bytes, size_t at) {
  T value;
  REQUIRE(at + sizeof value <= bytes.size());
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

// CRC-32C bit by bit, and TensorFlow's mask, as their formats define them.
uint32_t slow_crc32c(const std::string& bytes) {
  uint32_t crc = ~0u;
  for (const unsigned char byte : bytes) {
    crc ^= byte;
    for (int bit = 0; bit < 8; ++bit)
      crc = (crc >> 1) ^ (crc & 1 ? 0x82F63B78u : 0u);
  }
  return ~crc;
}
uint32_t mask_of(uint32_t crc) {
  return (crc >> 15 | crc << 17) + 0xA282EAD8u;
}

// The data of each record, after checking its two checksums.
std::vector<std::string> records_of(const std::string& file) {
  std::vector<std::string> records;
  for (size_t at = 0; at < file.size();) {
    const auto length = read_as<uint64_t>(file, at);
    CHECK(read_as<uint32_t>(file, at + 8) == mask_of(slow_crc32c(file.substr(at, 8))));
    records.push_back(file.substr(at + 12, length));
    CHECK(read_as<uint32_t>(file, at + 12 + length) == mask_of(slow_crc32c(records.back())));
    at += 16 + length;
  }
  return records;
}

}  // namespace

TEST_CASE("metrics: rows are JSON lines in the order given, NaN is null and reads back as NaN", "[core]") {
  const TemporaryFolder folder;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  Metrics metrics(folder.path());
  CHECK(metrics.offset() == 0);
  metrics.log(1, {{"loss", 2.5}, {"lr", 1e-3}});
  metrics.log(2, {{"loss", nan}, {"lr", 2e-3}});
  metrics.sync();
  const std::string expected = "{\"step\":1,\"loss\":2.5,\"lr\":0.001}\n{\"step\":2,\"loss\":null,\"lr\":0.002}\n";
  CHECK(read_text(folder / "metrics.jsonl") == expected);
  CHECK(metrics.offset() == static_cast<int64_t>(expected.size()));

  const auto points = read_metrics(folder / "metrics.jsonl");
  REQUIRE(points.size() == 2);
  CHECK(points[0].step == 1);
  CHECK(points[0].values == MetricRow{{"loss", 2.5}, {"lr", 1e-3}});
  CHECK(points[1].values[0].first == "loss");
  CHECK(std::isnan(points[1].values[0].second));
  CHECK_THROWS_AS(metrics.log(3, {{"loss", 1}, {"loss", 2}}), std::invalid_argument);
  CHECK_THROWS_AS(metrics.log(3, {{"step", 1}}), std::invalid_argument);
}

TEST_CASE("metrics: a resumed run cuts the file to the checkpoint and repeats no line", "[core]") {
  const TemporaryFolder folder;
  int64_t offset = 0;
  {
    Metrics metrics(folder.path());
    metrics.log(1, {{"loss", 3}});
    offset = metrics.offset();
    metrics.log(2, {{"loss", 2}});
  }
  const std::string uninterrupted = read_text(folder / "metrics.jsonl");
  std::ofstream(folder / "metrics.jsonl", std::ios::app) << "{\"step\":3,\"lo";  // torn by the kill
  {
    Metrics metrics(folder.path(), offset);
    CHECK(metrics.offset() == offset);
    metrics.log(2, {{"loss", 2}});
  }
  CHECK(read_text(folder / "metrics.jsonl") == uninterrupted);
  CHECK(event_files(folder).size() == 2);  // a new file after a restart
  { Metrics fresh(folder.path()); }
  CHECK(read_text(folder / "metrics.jsonl").empty());
}

TEST_CASE("metrics: a file that is not what the checkpoint recorded is refused untouched", "[core]") {
  const TemporaryFolder folder;
  write_text(folder / "metrics.jsonl", "{\"step\":1}\n{\"step\":2}\n");
  CHECK_THROWS_AS(Metrics(folder.path(), 23), keel::core::DataError);  // longer than the file
  CHECK_THROWS_AS(Metrics(folder.path(), 12), keel::core::DataError);  // inside a line
  CHECK(read_text(folder / "metrics.jsonl") == "{\"step\":1}\n{\"step\":2}\n");
  CHECK_THROWS_AS(Metrics(folder / "none"), keel::core::UsageError);
}

TEST_CASE("metrics: the event file holds TensorBoard's records", "[core]") {
  CHECK(slow_crc32c("123456789") == 0xE3069283);  // the published check value of CRC-32C
  const TemporaryFolder folder;
  {
    Metrics metrics(folder.path());
    metrics.log(300, {{"loss", 2.5}, {"objective/kl", -1}});
  }
  REQUIRE(event_files(folder).size() == 1);
  const std::string file = read_text(event_files(folder)[0]);
  // Every event file begins with of 24 bytes for "brain.Event:2".
  CHECK(file.substr(0, 12) == std::string("\x18\0\0\0\0\0\0\0\xa3\x7f\x4b\x22", 12));
  const auto records = records_of(file);
  REQUIRE(records.size() == 2);
  for (const std::string& record : records) {
    CHECK(record[0] == '\x09');  // wall_time
    CHECK(std::abs(read_as<double>(record, 1) - static_cast<double>(std::time(nullptr))) < 100);
  }
  CHECK(records[0].substr(9) ==
        "\x1a\x0d"
        "brain.Event:2");
  // step 300 = 0xAC 0x02; summary of 11+2 and 19+2 bytes; 2.5f = 0x40200000, -1f = 0xBF800000. Worked by hand.
  const std::string summary =
      std::string("\x0a\x0b\x0a\x04loss\x15\0\0\x20\x40", 13) + std::string("\x0a\x13\x0a\x0cobjective/kl\x15\0\0\x80\xbf", 21);
  CHECK(records[1].substr(9) == "\x10\xac\x02\x2a\x22" + summary);
}

TEST_CASE("metrics: rows that are none are an error with their line", "[core]") {
  const TemporaryFolder folder;
  write_text(folder / "m", "{\"step\":1,\"loss\":1}\n{\"loss\":1}\n");
  CHECK_THROWS_WITH(read_metrics(folder / "m"), Catch::Matchers::ContainsSubstring("m:2: "));
  write_text(folder / "m", "{\"step\":1,\"loss\":\"1\"}\n");
  CHECK_THROWS_WITH(read_metrics(folder / "m"), Catch::Matchers::ContainsSubstring("m:1: ") && Catch::Matchers::ContainsSubstring("loss"));
}
