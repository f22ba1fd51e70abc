// zlib and zstd in streaming form.
#include "core/compression.h"

#include <zlib.h>
#include <zstd.h>

#include <stdexcept>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/system_error.h"

namespace keel::core {
namespace {

constexpr size_t kPieceBytes = size_t{1} << 17;

class PlainSource : public ByteSource {
 public:
  explicit PlainSource(std::unique_ptr<ReadDescriptor> file) : file_(std::move(file)) {}

  bool next(std::string& bytes) override {
    bytes.resize(kPieceBytes);
    bytes.resize(file_->read(bytes.data(), bytes.size()));
    return !bytes.empty();
  }

 private:
  std::unique_ptr<ReadDescriptor> file_;
};

// Shared by both formats: pieces of compressed input, and the rule that a file must end where an archive ends.
class ArchiveSource : public ByteSource {
 public:
  explicit ArchiveSource(std::unique_ptr<ReadDescriptor> file, std::string path)
      : file_(std::move(file)), path_(std::move(path)), input_(kPieceBytes) {}

  bool next(std::string& bytes) override {
    bytes.resize(kPieceBytes);
    for (;;) {
      if (begin_ == end_ && !output_pending_) {
        begin_ = 0;
        end_ = file_->read(input_.data(), input_.size());
        if (end_ == 0) {
          if (inside_) fail("the archive is cut short; fetch or copy the file again");
          bytes.clear();
          return false;
        }
      }
      const size_t made = decompress({input_.data() + begin_, end_ - begin_}, bytes);
      output_pending_ = made == bytes.size();  // the decoder may hold more
      if (made == 0) continue;
      bytes.resize(made);
      return true;
    }
  }

 protected:
  // Reads from `input` (calls consumed()), fills `out` from its start, sets inside_; returns how much it made.
  virtual size_t decompress(std::string_view input, std::string& out) = 0;
  void consumed(size_t count) { begin_ += count; }
  [[noreturn]] void fail(const std::string& why) const { throw DataError(path_, 0, why); }

  bool inside_ = true;  // an archive has begun and not ended

 private:
  std::unique_ptr<ReadDescriptor> file_;
  std::string path_;
  std::vector<char> input_;
  size_t begin_ = 0, end_ = 0;
  bool output_pending_ = false;
};

class GzipSource : public ArchiveSource {
 public:
  GzipSource(std::unique_ptr<ReadDescriptor> file, const std::string& path) : ArchiveSource(std::move(file), path) {
    if (inflateInit2(&stream_, 15 + 16) != Z_OK) throw std::runtime_error("[gzip] zlib refused to start");  // + 16: gzip's header
  }
  ~GzipSource() override { inflateEnd(&stream_); }

 private:
  size_t decompress(std::string_view input, std::string& out) override {
    if (!inside_ && !input.empty()) {  // another member follows
      inflateReset(&stream_);
      inside_ = true;
    }
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(input.data()));
    stream_.avail_in = static_cast<uInt>(input.size());
    stream_.next_out = reinterpret_cast<Bytef*>(out.data());
    stream_.avail_out = static_cast<uInt>(out.size());
    const int result = inside_ ? inflate(&stream_, Z_NO_FLUSH) : Z_OK;
    consumed(input.size() - stream_.avail_in);
    if (result == Z_STREAM_END) {
      inside_ = false;
    } else if (result != Z_OK && result != Z_BUF_ERROR) {
      fail(std::string("the gzip archive is broken: ") + (stream_.msg != nullptr ? stream_.msg : "damaged data"));
    }
    return out.size() - stream_.avail_out;
  }

  z_stream stream_{};
};

class ZstdSource : public ArchiveSource {
 public:
  ZstdSource(std::unique_ptr<ReadDescriptor> file, const std::string& path) : ArchiveSource(std::move(file), path) {}

 private:
  size_t decompress(std::string_view input, std::string& out) override {
    ZSTD_inBuffer in{input.data(), input.size(), 0};
    ZSTD_outBuffer made{out.data(), out.size(), 0};
    if (!inside_ && input.empty()) return 0;  // a call without input would begin a new frame
    const size_t left = ZSTD_decompressStream(context_.get(), &made, &in);
    if (ZSTD_isError(left) != 0) fail(std::string("the zstd archive is broken: ") + ZSTD_getErrorName(left));
    inside_ = left != 0;
    consumed(in.pos);
    return made.pos;
  }

  std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> context_{ZSTD_createDCtx(), ZSTD_freeDCtx};
};

class PlainWriter : public Compressor {
 public:
  explicit PlainWriter(Out out) : out_(std::move(out)) {}
  void write(std::string_view bytes) override { out_(bytes); }
  void finish() override {}

 private:
  Out out_;
};

class GzipWriter : public Compressor {
 public:
  explicit GzipWriter(Out out) : out_(std::move(out)), buffer_(kPieceBytes) {
    if (deflateInit2(&stream_, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
      throw std::runtime_error("[gzip] zlib refused to start");
  }
  ~GzipWriter() override { deflateEnd(&stream_); }
  void write(std::string_view bytes) override { run(bytes, Z_NO_FLUSH); }
  void finish() override { run({}, Z_FINISH); }

 private:
  void run(std::string_view bytes, int mode) {
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
    stream_.avail_in = static_cast<uInt>(bytes.size());
    do {
      stream_.next_out = reinterpret_cast<Bytef*>(buffer_.data());
      stream_.avail_out = static_cast<uInt>(buffer_.size());
      deflate(&stream_, mode);
      out_({buffer_.data(), buffer_.size() - stream_.avail_out});
    } while (stream_.avail_out == 0);
  }

  Out out_;
  std::vector<char> buffer_;
  z_stream stream_{};
};

class ZstdWriter : public Compressor {
 public:
  explicit ZstdWriter(Out out) : out_(std::move(out)), buffer_(kPieceBytes) {}
  void write(std::string_view bytes) override { run(bytes, ZSTD_e_continue); }
  void finish() override { run({}, ZSTD_e_end); }

 private:
  void run(std::string_view bytes, ZSTD_EndDirective mode) {
    ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
    for (;;) {
      ZSTD_outBuffer made{buffer_.data(), buffer_.size(), 0};
      const size_t left = ZSTD_compressStream2(context_.get(), &made, &in, mode);
      if (ZSTD_isError(left) != 0) throw std::runtime_error(std::string("[zstd] ") + ZSTD_getErrorName(left));
      out_({buffer_.data(), made.pos});
      if (mode == ZSTD_e_end ? left == 0 : in.pos == in.size) return;
    }
  }

  Out out_;
  std::vector<char> buffer_;
  std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)> context_{ZSTD_createCCtx(), ZSTD_freeCCtx};
};

bool is_zstd(std::string_view head) {
  // A data frame, or a skippable one in front of it (RFC 8878, 3.1).
  return head == "\x28\xB5\x2F\xFD" || (head.size() == 4 && (head[0] & '\xF0') == '\x50' && head.substr(1) == "\x2A\x4D\x18");
}

}  // namespace

std::unique_ptr<ByteSource> open_bytes(const std::filesystem::path& path) {
  auto file = std::make_unique<ReadDescriptor>(path);
  const std::string head = file->head(4);
  if (head.starts_with("\x1F\x8B")) return std::make_unique<GzipSource>(std::move(file), path.string());
  if (is_zstd(head)) return std::make_unique<ZstdSource>(std::move(file), path.string());
  if (head.size() < 4 && (path.extension() == ".gz" || path.extension() == ".zst")) {
    throw DataError(path.string(), 0, "the archive is cut short: " + std::to_string(head.size()) + " bytes; fetch or copy the file again");
  }
  return std::make_unique<PlainSource>(std::move(file));
}

std::unique_ptr<Compressor> make_compressor(const std::filesystem::path& path, Compressor::Out out) {
  if (path.extension() == ".gz") return std::make_unique<GzipWriter>(std::move(out));
  if (path.extension() == ".zst") return std::make_unique<ZstdWriter>(std::move(out));
  return std::make_unique<PlainWriter>(std::move(out));
}

}  // namespace keel::core
