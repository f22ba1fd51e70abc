#include "core/parquet.h"

#include <dlfcn.h>

#include <algorithm>
#include <fstream>
#include <new>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "core/utf8.h"

namespace keel::core {
namespace {

#ifdef KEEL_PARQUET
constexpr bool kBuiltWithArrow = true;
#else
constexpr bool kBuiltWithArrow = false;
#endif

struct Library {
  OpenParquet* open = nullptr;
  std::string problem;
};

// Looked for where the program's own libraries are (its run path); it stays open.
Library opened() {
  void* library = ::dlopen("libkeel_parquet.so", RTLD_NOW | RTLD_LOCAL);
  void* function = library == nullptr ? nullptr : ::dlsym(library, "keel_open_parquet");
  const char* problem = function == nullptr ? ::dlerror() : nullptr;
  return {reinterpret_cast<OpenParquet*>(function), problem == nullptr ? "" : problem};
}

OpenParquet* opener(const std::string& path) {
  static const Library library = opened();
  if (library.open == nullptr)
    throw DataError(path, 0,
                    "is a Parquet table, and the library that reads those cannot be loaded (" + library.problem +
                        "); install keel again, with its lib/keel/");
  return library.open;
}

// Arrow's errors may quote the file.
std::string readable(std::string text) {
  constexpr size_t kMostBytes = 500;
  text = repair_utf8(text.size() > kMostBytes ? text.substr(0, kMostBytes) + "..." : text);
  std::replace_if(
      text.begin(), text.end(), [](char c) { return (c >= 0 && c < ' ') || c == '\x7F'; }, ' ');
  return text;
}

// What `work` returns; whatever Arrow throws is an error at `row`.
template <class Work>
auto guarded(const std::string& path, int64_t row, const Work& work) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    throw DataError(path, row, "there is not enough memory to read the rows from here on");
  } catch (const std::runtime_error& error) {
    throw DataError(path, row, readable(error.what()));
  } catch (const std::exception& error) {
    throw DataError(path, row,
                    readable(std::string("this Parquet table cannot be read (") + error.what() +
                             "); the file is damaged or cut short: fetch or copy it again"));
  }
}

}  // namespace

bool reads_parquet() {
  return kBuiltWithArrow;
}

bool is_parquet(const std::filesystem::path& path) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) return false;
  char head[4] = {};
  return std::ifstream(path, std::ios::binary).read(head, sizeof head) && std::string_view(head, sizeof head) == "PAR1";
}

ParquetReader::ParquetReader(const std::filesystem::path& path) : path_(path.string()), file_(path) {
  OpenParquet* const open = opener(path_);
  rows_ = guarded(path_, 0, [&] { return std::unique_ptr<ParquetRows>(open(file_.bytes())); });
}

bool ParquetReader::next(nlohmann::json& row) {
  const bool more = guarded(path_, row_ + 1, [&] { return rows_->next(row); });
  row_ += more ? 1 : 0;
  return more;
}

}  // namespace keel::core
