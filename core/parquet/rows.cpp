// libkeel_parquet.so: the rows of a Parquet file through Apache Arrow. The one source that sees Arrow.
#include <arrow/array.h>
#include <arrow/buffer.h>
#include <arrow/io/memory.h>
#include <arrow/memory_pool.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <parquet/arrow/reader.h>
#include <parquet/file_reader.h>
#include <parquet/metadata.h>

#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>
#include <string>

#include "core/parquet.h"
#include "core/utf8.h"

namespace keel::core {
namespace {

using arrow::Type;
using nlohmann::json;

constexpr int64_t kBatchRows = 16;
constexpr size_t kMaxRowBytes = size_t{64} << 20;                                             // as a line of JSON lines
constexpr int64_t kMaxMemory = kBatchRows * static_cast<int64_t>(kMaxRowBytes);               // a few bytes of a file can stand for more
constexpr const char* kDamaged = "the file is damaged or cut short: fetch or copy it again";  // what helps where Arrow fails

void require(const arrow::Status& status) {
  if (status.ok()) return;
  if (status.IsOutOfMemory())
    throw std::runtime_error("the next rows need more than 1 GiB of memory; if the file is not damaged, write shorter rows");
  throw std::runtime_error("this Parquet table cannot be read (" + status.message() + "); " + kDamaged);
}

std::string quoted(const std::string& name) {
  return json(name).dump(-1, ' ', false, json::error_handler_t::replace);
}

void check_fields(const arrow::FieldVector& fields, const std::string& prefix);

void check_type(const arrow::DataType& type, const std::string& column) {
  switch (type.id()) {
    case Type::NA:
    case Type::BOOL:
    case Type::INT8:
    case Type::INT16:
    case Type::INT32:
    case Type::INT64:
    case Type::UINT8:
    case Type::UINT16:
    case Type::UINT32:
    case Type::UINT64:
    case Type::FLOAT:
    case Type::DOUBLE:
    case Type::STRING:
    case Type::LARGE_STRING:
    case Type::STRING_VIEW:
      return;
    case Type::DICTIONARY:
      return check_type(*static_cast<const arrow::DictionaryType&>(type).value_type(), column);
    case Type::LIST:
    case Type::LARGE_LIST:
    case Type::FIXED_SIZE_LIST:
      return check_type(*type.field(0)->type(), column);
    case Type::STRUCT:
      return check_fields(type.fields(), column + ".");
    default:
      throw std::runtime_error("column " + quoted(column) + " holds " + type.ToString() +
                               ", which has no form in rows of JSON: leave the column out (pandas: read_parquet, "
                               "drop(columns=...), to_parquet) or write it as text");
  }
}

void check_fields(const arrow::FieldVector& fields, const std::string& prefix) {
  std::set<std::string> names;
  for (const auto& field : fields) {
    const std::string column = prefix + field->name();
    if (!names.insert(field->name()).second) throw std::runtime_error("two columns are named " + quoted(column));
    if (find_invalid_utf8(field->name()) != std::string::npos)
      throw std::runtime_error("the name of column " + quoted(column) + " is not valid UTF-8");
    check_type(*field->type(), column);
  }
}

template <class Array>
const Array& as(const arrow::Array& array) {
  return static_cast<const Array&>(array);
}

class Rows : public ParquetRows {
 public:
  explicit Rows(std::string_view bytes) : pool_(arrow::system_memory_pool(), kMaxMemory) {
    parquet::ReaderProperties properties(&pool_);
    properties.set_page_checksum_verification(true);
    parquet::ArrowReaderProperties of_arrow(/*use_threads=*/false);
    of_arrow.set_pre_buffer(false);  // pages as they are needed, not a row group at once
    of_arrow.set_batch_size(kBatchRows);
    parquet::arrow::FileReaderBuilder builder;
    require(builder.Open(std::make_shared<arrow::io::BufferReader>(std::make_shared<arrow::Buffer>(bytes)), properties));
    require(builder.memory_pool(&pool_)->properties(of_arrow)->Build(&reader_));
    promised_ = reader_->parquet_reader()->metadata()->num_rows();
    auto batches = reader_->GetRecordBatchReader();
    require(batches.status());
    batches_ = std::move(*batches);
    if (batches_->schema()->num_fields() == 0) throw std::runtime_error("this Parquet table has no columns");
    check_fields(batches_->schema()->fields(), "");
  }

  bool next(json& row) override {
    while (batch_ == nullptr || at_ == batch_->num_rows())
      if (!load()) return false;
    row = json::object();
    bytes_ = 0;
    for (int c = 0; c < batch_->num_columns(); ++c) {
      const std::string& name = batch_->column_name(c);
      const arrow::Array& column = *batch_->column(c);
      try {
        row[name] = value(column, at_);
      } catch (const std::exception& error) {
        throw std::runtime_error("column " + quoted(name) + ": " + error.what());
      }
    }
    ++at_;
    ++given_;
    return true;
  }

 private:
  // The next few rows.
  bool load() {
    auto batch = batches_->Next();
    require(batch.status());
    batch_ = std::move(*batch);
    at_ = 0;
    if (batch_ == nullptr) {
      if (given_ != promised_)
        throw std::runtime_error("the table ends after " + std::to_string(given_) + " of its " + std::to_string(promised_) + " rows; " +
                                 kDamaged);
      return false;
    }
    require(batch_->Validate());
    return true;
  }

  // Counts what a row holds: a few bytes of a file can stand for a list of a thousand million nulls.
  void count(size_t bytes) {
    bytes_ += bytes;
    if (bytes_ > kMaxRowBytes) throw std::runtime_error("the row needs more than 64 MiB");
  }

  template <class Array>
  json integer(const arrow::Array& array, int64_t i) {
    const auto number = as<Array>(array).Value(i);
    if (number < 0) return static_cast<int64_t>(number);
    return static_cast<uint64_t>(number);  // as the reader of JSON tells them apart
  }

  static json real(double number) {
    if (std::isinf(number)) throw std::runtime_error("an infinite number has no form in JSON");
    return std::isnan(number) ? json() : json(number);  // pandas writes a missing number as NaN
  }

  template <class Array>
  json text(const arrow::Array& array, int64_t i) {
    const std::string_view view = as<Array>(array).GetView(i);
    count(view.size());
    if (const size_t bad = find_invalid_utf8(view); bad != std::string_view::npos)
      throw std::runtime_error("invalid UTF-8 at byte " + std::to_string(bad + 1) + " of the text");
    return std::string(view);
  }

  template <class Array>
  json list(const arrow::Array& array, int64_t i) {
    const auto& all = as<Array>(array);
    json items = json::array();
    const int64_t begin = all.value_offset(i), end = begin + all.value_length(i);
    if (begin < 0 || end < begin || end > all.values()->length())
      throw std::runtime_error(std::string("a list leaves its column; ") + kDamaged);
    for (int64_t k = begin; k < end; ++k)
      items.push_back(value(*all.values(), k));
    return items;
  }

  json entry(const arrow::DictionaryArray& array, int64_t i) {
    const int64_t index = array.GetValueIndex(i);
    if (index < 0 || index >= array.dictionary()->length())
      throw std::runtime_error(std::string("the dictionary has no such entry; ") + kDamaged);
    return value(*array.dictionary(), index);
  }

  json object(const arrow::Array& array, int64_t i) {
    const auto& all = as<arrow::StructArray>(array);
    json members = json::object();
    for (int f = 0; f < all.num_fields(); ++f)
      members[all.struct_type()->field(f)->name()] = value(*all.field(f), i);
    return members;
  }

  json value(const arrow::Array& array, int64_t i) {
    count(sizeof(json));
    if (array.type_id() == Type::NA || array.IsNull(i)) return nullptr;
    switch (array.type_id()) {
      case Type::BOOL:
        return as<arrow::BooleanArray>(array).Value(i);
      case Type::INT8:
        return integer<arrow::Int8Array>(array, i);
      case Type::INT16:
        return integer<arrow::Int16Array>(array, i);
      case Type::INT32:
        return integer<arrow::Int32Array>(array, i);
      case Type::INT64:
        return integer<arrow::Int64Array>(array, i);
      case Type::UINT8:
        return integer<arrow::UInt8Array>(array, i);
      case Type::UINT16:
        return integer<arrow::UInt16Array>(array, i);
      case Type::UINT32:
        return integer<arrow::UInt32Array>(array, i);
      case Type::UINT64:
        return integer<arrow::UInt64Array>(array, i);
      case Type::FLOAT:
        return real(as<arrow::FloatArray>(array).Value(i));
      case Type::DOUBLE:
        return real(as<arrow::DoubleArray>(array).Value(i));
      case Type::STRING:
        return text<arrow::StringArray>(array, i);
      case Type::LARGE_STRING:
        return text<arrow::LargeStringArray>(array, i);
      case Type::STRING_VIEW:
        return text<arrow::StringViewArray>(array, i);
      case Type::DICTIONARY:
        return entry(as<arrow::DictionaryArray>(array), i);
      case Type::LIST:
        return list<arrow::ListArray>(array, i);
      case Type::LARGE_LIST:
        return list<arrow::LargeListArray>(array, i);
      case Type::FIXED_SIZE_LIST:
        return list<arrow::FixedSizeListArray>(array, i);
      case Type::STRUCT:
        return object(array, i);
      default:
        throw std::runtime_error("the type " + array.type()->ToString() + " was not announced");
    }
  }

  arrow::CappedMemoryPool pool_;
  std::unique_ptr<parquet::arrow::FileReader> reader_;
  std::shared_ptr<arrow::RecordBatchReader> batches_;
  std::shared_ptr<arrow::RecordBatch> batch_;
  int64_t at_ = 0, given_ = 0, promised_ = 0;
  size_t bytes_ = 0;  // of the row being made
};

}  // namespace
}  // namespace keel::core

extern "C" keel::core::ParquetRows* keel_open_parquet(std::string_view bytes) {
  return new keel::core::Rows(bytes);
}
