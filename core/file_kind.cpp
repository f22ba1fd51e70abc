#include "core/file_kind.h"

#include <algorithm>
#include <cctype>

#include "core/error.h"
#include "core/parquet.h"

namespace keel::core {
namespace {

struct Kind {
  std::string_view start;
  const char* what;
};

// A number of whitespace-separated fields that begin with base64: "IQ== 0", how tiktoken keeps its ranks.
bool is_tiktoken(std::string_view head) {
  const size_t blank = head.find(' ');
  if (blank == std::string_view::npos || blank < 4 || blank % 4 != 0 || blank > 400 || blank + 1 == head.size()) return false;
  const auto base64 = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '+' || c == '/' || c == '='; };
  const std::string_view rank = head.substr(blank + 1, head.find('\n') - blank - 1);
  return std::all_of(head.begin(), head.begin() + static_cast<std::ptrdiff_t>(blank), base64) && !rank.empty() && rank.size() < 8 &&
         std::all_of(rank.begin(), rank.end(), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

std::string foreign_file(std::string_view head) {
  using namespace std::string_view_literals;
  static const Kind kKinds[] = {
      {"version https://git-lfs.github.com/"sv, "a Git LFS pointer, not the file itself: fetch the file with git lfs pull"},
      {"PAR1"sv,
       reads_parquet()
           ? "a Parquet table, which keel reads among files of data alone: not in an archive and not through a pipe"
           : "a Parquet table, which this keel was built without: build it with (make parquet), or write the rows as JSON lines, one "
             "object a line (pandas: read_parquet, to_json with lines=True)"},
      {"PARE"sv, "an encrypted Parquet table: write its rows as JSON lines, one object a line"},
      {"ARROW1"sv, "an Arrow table: write its rows as JSON lines, one object a line (datasets: Dataset.to_json)"},
      {"\x89HDF\r\n"sv, "an HDF5 file, which keel does not read: save the weights as safetensors"},
      {"SQLite format 3"sv, "an SQLite database: write its rows as JSON lines, one object a line"},
      {"PK\x03\x04"sv, "a zip archive (or what torch.save wrote): unpack it; weights of PyTorch go into safetensors (save_pretrained)"},
      {"\x80\x02"sv, "a Python pickle, which keel does not read: save weights as safetensors (save_pretrained), data as JSON lines"},
      {"\x80\x04"sv, "a Python pickle, which keel does not read: save weights as safetensors (save_pretrained), data as JSON lines"},
      {"\x80\x05"sv, "a Python pickle, which keel does not read: save weights as safetensors (save_pretrained), data as JSON lines"},
      {"\x93NUMPY"sv, "a NumPy array, which keel does not read: save weights as safetensors"},
      {"BZh"sv, "a bzip2 archive: unpack it (gzip and zstd are read as they are)"},
      {"\xFD\x37zXZ"sv, "an xz archive: unpack it (gzip and zstd are read as they are)"},
      {"7z\xBC\xAF\x27\x1C"sv, "a 7z archive: unpack it (gzip and zstd are read as they are)"},
      {"%PDF-"sv, "a PDF document: write its text as JSON lines, one object a line"},
      {"<!DOCTYPE"sv, "a web page, not the file: the download got a page in its place (a login or an error); fetch the file itself"},
      {"<!doctype"sv, "a web page, not the file: the download got a page in its place (a login or an error); fetch the file itself"},
      {"<html"sv, "a web page, not the file: the download got a page in its place (a login or an error); fetch the file itself"},
      {"ggjt"sv, "a GGML file from before GGUF: convert it with the llama.cpp of its time, or fetch the model as GGUF"},
      {"tjgg"sv, "a GGML file from before GGUF: convert it with the llama.cpp of its time, or fetch the model as GGUF"},
      {"lmgg"sv, "a GGML file from before GGUF: convert it with the llama.cpp of its time, or fetch the model as GGUF"},
      {"fmgg"sv, "a GGML file from before GGUF: convert it with the llama.cpp of its time, or fetch the model as GGUF"}};
  for (const Kind& kind : kKinds)
    if (head.starts_with(kind.start)) return kind.what;
  if (head.size() >= 4 && ((head.starts_with("\xFF\xFE") && head[3] == 0) || (head.starts_with("\xFE\xFF") && head[2] == 0)))
    return "UTF-16 text: write it as UTF-8 (iconv -f UTF-16 -t UTF-8)";
  if (head.size() > 262 && head.substr(257, 5) == "ustar") return "a tar archive: unpack it";
  if (is_tiktoken(head))
    return "a tiktoken vocabulary, which keel does not read: use the tokenizer.json of the same model (transformers' save_pretrained "
           "writes one)";
  return {};
}

void refuse_foreign_file(std::string_view head, const std::string& path) {
  if (const std::string kind = foreign_file(head); !kind.empty()) throw DataError(path, 0, "is " + kind);
}

void refuse_other_file(std::string_view head, const std::string& path, WholeFile wanted) {
  refuse_foreign_file(head, path);
  if (head.starts_with("\x1F\x8B")) throw DataError(path, 0, "is compressed with gzip: unpack it");
  if (head.starts_with("\x28\xB5\x2F\xFD")) throw DataError(path, 0, "is compressed with zstd: unpack it");
  if (head.starts_with("GGUF") && wanted != WholeFile::gguf)
    throw DataError(path, 0, "is a GGUF file: keel convert makes a model folder of it (keel convert FILE.gguf DST)");
  const bool safetensors = head.size() > 10 && head.substr(5, 3) == std::string_view("\0\0\0", 3) && head.substr(8, 2) == "{\"";
  if (safetensors && wanted != WholeFile::safetensors)
    throw DataError(path, 0, "is a safetensors file: name the model folder that holds it, with its config.json and tokenizer");
}

}  // namespace keel::core
