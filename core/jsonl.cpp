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
#include "core/parquet.h"
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
    if (line.size() + length > kMaxLineBytes) throw error("the line is longer than 64 MiB; is this a text file with one record a line?");
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
  if (line[start] == '{' && line.find_first_not_of(" \t\r", start + 1) == std::string_view::npos)
    return "a JSON object over several lines, but JSON lines are read, a whole object on each: write them with jq -c . " + path;
  if (line[start] == '{' || line.find("\":") != std::string_view::npos) return {};
  for (const auto& [separator, name] : {std::pair{'\t', "tabs (TSV)"}, std::pair{',', "commas (CSV)"}})
    if (line.find(separator) != std::string_view::npos)
      return fmt::format("text with {} like a table, but JSON lines are read: write each row as a JSON object in a line of its own", name);
  return {};
}

}  // namespace

JsonlReader::JsonlReader(const std::filesystem::path& path) : lines_(path) {
  if (reads_parquet() && is_parquet(path)) table_ = std::make_unique<ParquetReader>(path);
}

JsonlReader::~JsonlReader() = default;

bool JsonlReader::next(nlohmann::json& row) {
  if (interrupt_requested()) stop_if_interrupted("reading " + path());
  if (table_ != nullptr) {
    const bool more = table_->next(row);
    line_ = table_->row();
    return more;
  }
  std::string element;
  if (!list_) {
    do {
      if (!lines_.next(text_)) return false;
      line_ = lines_.line();
    } while (text_.find_first_not_of(" \t\r") == std::string::npos);
    if (std::exchange(begins_, false)) {
      at_ = text_.find_first_not_of(" \t\r");
      list_ = text_[at_++] == '[';
      if (const std::string form = other_form(text_, path()); !list_ && !form.empty()) throw error("holds " + form);
    }
  }
  if (list_ && !next_of_list(element)) return false;
  row = parse_json(list_ ? element : text_, path(), line_);
  if (!row.is_object()) throw error(std::string("a row must be a JSON object, got ") + row.type_name());
  return true;
}

// The text of a list's next element, which may go over several lines; false at the end of the list, behind which nothing may stand.
bool JsonlReader::next_of_list(std::string& element) {
  int depth = 0;
  bool in_text = false, escaped = false, comma = false;
  for (;;) {
    while (at_ == text_.size()) {
      if (!lines_.next(text_)) {
        text_.clear();
        at_ = 0;
        if (list_ended_) return false;
        line_ = lines_.line();
        throw error("the JSON list ends without its \"]\"");
      }
      at_ = 0;
      if (depth > 0) element += '\n';
    }
    const char c = text_[at_++];
    if (depth > 0) {
      element += c;
      if (element.size() > kMaxLineBytes) throw error("the object is longer than 64 MiB");
      if (in_text) {
        in_text = escaped || c != '"';
        escaped = !escaped && c == '\\';
      } else if (c == '"') {
        in_text = true;
      } else if (c == '{' || c == '[') {
        ++depth;
      } else if (c == '}' || c == ']') {
        --depth;
      }
      if (depth > 0) continue;
      after_element_ = true;
      return true;
    }
    if (c == ' ' || c == '\t' || c == '\r') continue;
    line_ = lines_.line();
    if (list_ended_) throw error("there is text behind the JSON list");
    if (c == ']') {
      if (comma) throw error("the JSON list ends behind a comma");
      list_ended_ = true;
    } else if (c == ',') {
      if (!std::exchange(after_element_, false)) throw error("the JSON list has a comma without an object before it");
      comma = true;
    } else if (after_element_) {
      throw error("the JSON list has no comma between two objects");
    } else if (c == '{') {
      depth = 1;
      element = "{";
    } else {
      throw error("a JSON list must hold objects, one a row");
    }
  }
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
