// metrics.jsonl and TensorBoard event files. An event file is a sequence of records: u64 length, masked CRC-32C of the length, the
// bytes of a protobuf Event, masked CRC-32C of them (all little-endian).
#include "core/metrics.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <bit>
#include <boost/crc.hpp>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "core/error.h"
#include "core/json.h"
#include "core/jsonl.h"
#include "core/row_log.h"
#include "core/system_error.h"

namespace keel::core {
namespace {

namespace fs = std::filesystem;

// CRC-32C (Castagnoli, of reflected bytes), masked as TensorFlow's record format wants it.
uint32_t masked_crc32c(std::string_view bytes) {
  boost::crc_optimal<32, 0x1EDC6F41, 0xFFFFFFFF, 0xFFFFFFFF, true, true> crc;
  crc.process_bytes(bytes.data(), bytes.size());
  return std::rotr(crc.checksum(), 15) + 0xA282EAD8;
}

template <class T>
void append_little_endian(std::string& out, T value) {
  for (size_t i = 0; i < sizeof value; ++i)
    out += static_cast<char>(value >> (8 * i) & 0xFF);
}

// Protobuf wire format: field number and wire type, then a varint, 8 or 4 fixed bytes, or a length and bytes.
enum class Wire : uint64_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

void append_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7)
    out += static_cast<char>((value & 0x7F) | 0x80);
  out += static_cast<char>(value);
}

void append_tag(std::string& out, uint64_t number, Wire wire) {
  append_varint(out, number << 3 | static_cast<uint64_t>(wire));
}

void append_bytes_field(std::string& out, uint64_t number, std::string_view bytes) {
  append_tag(out, number, Wire::bytes);
  append_varint(out, bytes.size());
  out += bytes;
}

std::string event_start() {  // Event.wall_time = 1, seconds
  std::string event;
  append_tag(event, 1, Wire::fixed64);
  const double now = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  append_little_endian(event, std::bit_cast<uint64_t>(now));
  return event;
}

std::string event_record(const std::string& event) {
  std::string record;
  append_little_endian(record, uint64_t{event.size()});
  append_little_endian(record, masked_crc32c(record));
  record += event;
  append_little_endian(record, masked_crc32c(event));
  return record;
}

std::string version_event() {
  std::string event = event_start();
  append_bytes_field(event, 3, "brain.Event:2");  // Event.file_version
  return event_record(event);
}

std::string scalars_event(int64_t step, const MetricRow& row) {
  std::string summary;
  for (const auto& [name, number] : row) {
    std::string value;
    append_bytes_field(value, 1, name);   // Summary.Value.tag
    append_tag(value, 2, Wire::fixed32);  // Summary.Value.simple_value
    append_little_endian(value, std::bit_cast<uint32_t>(static_cast<float>(number)));
    append_bytes_field(summary, 1, value);
  }
  std::string event = event_start();
  append_tag(event, 2, Wire::varint);  // Event.step
  append_varint(event, static_cast<uint64_t>(step));
  append_bytes_field(event, 5, summary);
  return event_record(event);
}

std::string metrics_line(int64_t step, const MetricRow& row) {
  std::string line = "{\"step\":" + std::to_string(step);
  for (size_t i = 0; i < row.size(); ++i) {
    bool taken = row[i].first == "step";
    for (size_t k = 0; k < i; ++k)
      taken = taken || row[k].first == row[i].first;
    if (taken) throw std::invalid_argument("[Metrics::log] a row must name each metric once, got \"" + row[i].first + "\" twice");
    line.append(",").append(dump_json(row[i].first)).append(":").append(dump_json(row[i].second));
  }
  return line + "}";
}

int open_events(const fs::path& directory) {
  static std::atomic<int> counter{0};
  char host[256] = {};
  ::gethostname(host, sizeof host - 1);
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const std::string name = "events.out.tfevents." + std::to_string(std::chrono::duration_cast<std::chrono::seconds>(now).count()) + "." +
                           host + "." + std::to_string(::getpid()) + "." + std::to_string(counter++);
  const int descriptor = ::open((directory / name).c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (descriptor < 0) throw_system_error("write", directory / name, errno);
  return descriptor;
}

}  // namespace

struct Metrics::Files {
  RowLog rows;
  fs::path events_path;
  int events = -1;

  Files(const fs::path& directory, int64_t offset)
      : rows(directory / "metrics.jsonl", offset), events_path(directory / "events.out.tfevents"), events(open_events(directory)) {}
  Files(const Files&) = delete;
  Files& operator=(const Files&) = delete;
  ~Files() { ::close(events); }
};

Metrics::Metrics(const fs::path& directory, int64_t offset) : files_(std::make_unique<Files>(directory, offset)) {
  write_fully(files_->events, version_event(), files_->events_path);
}

Metrics::~Metrics() = default;

void Metrics::log(int64_t step, const MetricRow& row) {
  files_->rows.append(metrics_line(step, row));
  write_fully(files_->events, scalars_event(step, row), files_->events_path);
}

int64_t Metrics::offset() const {
  return files_->rows.offset();
}

void Metrics::sync() {
  files_->rows.sync();
}

std::vector<MetricPoint> read_metrics(const fs::path& metrics_jsonl) {
  std::vector<MetricPoint> points;
  JsonlReader reader(metrics_jsonl);
  nlohmann::json row;
  while (reader.next(row)) {
    const auto step = row.find("step");
    if (step == row.end() || !step->is_number_integer()) throw reader.error("a row of metrics needs an integer \"step\"");
    MetricPoint point{step->get<int64_t>(), {}};
    for (const auto& [name, value] : row.items()) {
      if (name == "step") continue;
      if (!value.is_number() && !value.is_null()) throw reader.error("the metric \"" + name + "\" must be a number or null");
      point.values.emplace_back(name, value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>());
    }
    points.push_back(std::move(point));
  }
  return points;
}

}  // namespace keel::core
