// Lines over ByteSource, rows over lines, and the writer.
#include "core/jsonl.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "core/compression.h"
#include "core/file_kind.h"
#include "core/files.h"
#include "core/interrupt.h"
#include "core/json.h"
#include "core/system_error.h"
#include "core/utf8.h"

namespace keel::core {

namespace {
constexpr size_t kMaxLineBytes = size_t{64} << 20;
constexpr size_t kRowBufferBytes = size_t{1} << 16;
}  // namespace

struct LineReader::Source {
  std::unique_ptr<ByteSource> bytes;
  std::string piece;
  size_t used = 0;     // bytes of `piece` already given out
  bool begins = true;  // nothing is read yet

  bool refill(const std::string& path) {
    const bool first = std::exchange(begins, false);
    used = 0;
    if (!bytes->next(piece)) return false;
    if (!first) return true;
    constexpr size_t kHeadBytes = 512;  // enough to recognise other file formats; the first piece may be shorter
    for (std::string more; piece.size() < kHeadBytes && bytes->next(more);)
      piece += more;
    refuse_foreign_file(piece, path);
    return true;
  }
};

LineReader::LineReader(const std::filesystem::path& path)
    : source_(std::make_unique<Source>(Source{.bytes = open_bytes(path), .piece = {}})), path_(path.string()) {}

LineReader::~LineReader() = default;

bool LineReader::next(std::string& line) {
  line.clear();
  ++line_;  // the line now being read: errors name it
  bool any = false, complete = false;
  while (!complete) {
    if (source_->used == source_->piece.size() && !source_->refill(path_)) break;
    any = true;
    const std::string_view rest = std::string_view(source_->piece).substr(source_->used);
    const size_t end = rest.find('\n');
    complete = end != std::string_view::npos;
    const size_t length = complete ? end : rest.size();
    if (line.size() + length > kMaxLineBytes)
      throw error("the line is longer than 64 MiB; is this a text file with one record a line, and no JSON list?");
    line += rest.substr(0, length);
    source_->used += length + (complete ? 1 : 0);
  }
  if (!any) {
    --line_;
    return false;
  }
  if (line.ends_with('\r')) line.pop_back();
  if (line_ == 1 && line.starts_with("\xEF\xBB\xBF")) line.erase(0, 3);  // a byte order mark
  if (const size_t bad = find_invalid_utf8(line); bad != std::string_view::npos) {
    throw error("invalid UTF-8 at byte " + std::to_string(bad + 1) + " of the line; the file must be UTF-8 text");
  }
  return true;
}

namespace {

// The format that the beginning of a file shows instead of JSON lines; "" when it may be JSON lines.
std::string other_form(std::string_view line, const std::string& path) {
  const size_t start = line.find_first_not_of(" \t\r");
  if (start == std::string_view::npos) return {};
  if (line[start] == '[') return "a JSON list, but JSON lines are read, one object a line: write it with jq -c '.[]' " + path;
  if (line[start] == '{' && line.find_first_not_of(" \t\r", start + 1) == std::string_view::npos)
    return "a JSON object over several lines, but JSON lines are read, a whole object on each: write them with jq -c . " + path;
  if (line[start] == '{' || line.find("\":") != std::string_view::npos) return {};
  for (const auto& [separator, name] : {std::pair{'\t', "tabs (TSV)"}, std::pair{',', "commas (CSV)"}})
    if (line.find(separator) != std::string_view::npos)
      return fmt::format("text with {} like a table, but JSON lines are read: write each row as a JSON object in a line of its own", name);
  return {};
}

}  // namespace

bool JsonlReader::next(nlohmann::json& row) {
  if (interrupt_requested()) stop_if_interrupted("reading " + path());
  do {
    if (!lines_.next(text_)) return false;
  } while (text_.find_first_not_of(" \t\r") == std::string::npos);
  if (std::exchange(begins_, false))
    if (const std::string form = other_form(text_, path()); !form.empty()) throw error("holds " + form);
  row = parse_json(text_, path(), line());
  if (!row.is_object()) throw error(std::string("a row must be a JSON object, got ") + row.type_name());
  return true;
}

struct JsonlWriter::Sink {
  std::optional<AtomicFile> file;  // none: standard output
  std::string buffer;
  std::unique_ptr<Compressor> compressor;

  void flush() {
    compressor->write(buffer);
    buffer.clear();
  }
};

JsonlWriter::JsonlWriter(const std::filesystem::path& path) : sink_(std::make_unique<Sink>()) {
  if (path.empty() || path == "-") return;
  AtomicFile& file = sink_->file.emplace(path);
  sink_->compressor = make_compressor(path, [&file](std::string_view bytes) { file.write(bytes); });
}

JsonlWriter::~JsonlWriter() = default;

void JsonlWriter::write(const nlohmann::json& row) {
  const std::string text = dump_json(row) + "\n";
  if (!sink_->file) {
    if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
      throw_system_error("write", "standard output", errno);
    }
    return;
  }
  sink_->buffer += text;
  if (sink_->buffer.size() >= kRowBufferBytes) sink_->flush();
}

void JsonlWriter::commit() {
  if (!sink_->file) return;
  sink_->flush();
  sink_->compressor->finish();
  sink_->file->commit();
}

}  // namespace keel::core
