// Streams of bytes in and out of plain, gzip and Zstandard files.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace keel::core {

// Decompressed bytes of a file. The first bytes decide the format, not the name; concatenated gzip members and zstd frames are read as one.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  // Replaces `bytes` by the next piece; false, with `bytes` empty, at the end. Throws DataError for a broken or truncated archive.
  virtual bool next(std::string& bytes) = 0;
};
std::unique_ptr<ByteSource> open_bytes(const std::filesystem::path& path);

// Compresses by the ending of a file's name (.gz, .zst, else plain) and passes the result to `out`.
class Compressor {
 public:
  using Out = std::function<void(std::string_view)>;
  virtual ~Compressor() = default;
  virtual void write(std::string_view bytes) = 0;
  virtual void finish() = 0;
};
std::unique_ptr<Compressor> make_compressor(const std::filesystem::path& path, Compressor::Out out);

}  // namespace keel::core
