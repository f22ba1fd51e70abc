#include "core/safetensors.h"

#include <cstdint>
#include <limits>

#include "core/error.h"
#include "core/files.h"
#include "support/test_plain.h"

using keel::core::DataError;
using keel::core::SafetensorsFile;
using keel::core::TensorEntry;
using keel::core::write_safetensors;
using keel::test::TemporaryFolder;
using keel::test::write_text;

namespace {

std::string safetensors_bytes(const std::string& header, const std::string& data) {
  std::string length(8, '\0');
  for (size_t i = 0; i < 8; ++i)
    length[i] = static_cast<char>(header.size() >> (8 * i));
  return length + header + data;
}

// The error message for these bytes, "" if they are accepted.
std::string complaint(const std::string& bytes) {
  const TemporaryFolder folder;
  write_text(folder / "x.safetensors", bytes);
  try {
    const SafetensorsFile file(folder / "x.safetensors");
    return "";
  } catch (const DataError& error) {
    CHECK(std::string(error.what()).find("x.safetensors") != std::string::npos);
    return error.what();
  }
}

std::string complaint(const std::string& header, const std::string& data) {
  return complaint(safetensors_bytes(header, data));
}

using Catch::Matchers::ContainsSubstring;

}  // namespace

TEST_CASE("safetensors: a file written by hand is read in file order with its metadata", "[core]") {
  const TemporaryFolder folder;
  write_text(folder / "a.safetensors",
             safetensors_bytes(
                 R"({"__metadata__":{"format":"pt"},"a":{"dtype":"U8","shape":[3],"data_offsets":[8,11]},)"
                 R"("b":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"none":{"dtype":"F16","shape":[0,4],"data_offsets":[8,8]}}   )",
                 std::string("\0\0\x80\x3f\0\0\0\x40xyz", 11)));
  const SafetensorsFile file(folder / "a.safetensors");
  REQUIRE(file.entries().size() == 3);
  CHECK(file.entries()[0].name == "b");
  CHECK(file.entries()[0].shape == std::vector<int64_t>{2, 1});
  CHECK(file.entries()[1].name == "none");
  CHECK(file.bytes(file.entries()[1]).empty());
  CHECK(file.bytes(file.entries()[2]) == "xyz");
  CHECK(file.metadata() == std::map<std::string, std::string>{{"format", "pt"}});
}

TEST_CASE("safetensors: what is written is read back, in the given order, and its digest is the file's", "[core]") {
  const TemporaryFolder folder;
  const std::vector<std::string> data = {std::string(6, 'b'), "", std::string(16, 'a'), "s234"};
  std::vector<TensorEntry> entries = {{.name = "z", .dtype = "BF16", .shape = {1, 3}},
                                      {.name = "empty", .dtype = "F32", .shape = {2, 0}},
                                      {.name = "a\"\\\xC3\xA9", .dtype = "I64", .shape = {2}},
                                      {.name = "scalar", .dtype = "F32", .shape = {}}};
  const std::string digest =
      write_safetensors(folder / "w.safetensors", entries, [&](size_t i) { return std::string_view(data[i]); }, {{"k", "v"}});
  CHECK(digest == keel::core::sha256_file(folder / "w.safetensors"));
  const SafetensorsFile file(folder / "w.safetensors");
  REQUIRE(file.entries().size() == 4);
  CHECK(file.metadata().at("k") == "v");
  for (const TensorEntry& entry : file.entries()) {
    const auto source = std::find_if(entries.begin(), entries.end(), [&](const TensorEntry& e) { return e.name == entry.name; });
    REQUIRE(source != entries.end());
    CHECK(entry.dtype == source->dtype);
    CHECK(entry.shape == source->shape);
    CHECK(file.bytes(entry) == data[static_cast<size_t>(source - entries.begin())]);
  }
  CHECK(file.entries()[0].name == "z");
  CHECK(file.entries()[3].name == "scalar");
  CHECK(static_cast<unsigned char>(keel::test::read_text(folder / "w.safetensors")[0]) % 8 == 0);  // aligned data
}

TEST_CASE("safetensors: writing refuses wrong sizes, equal names and unknown dtypes and leaves nothing behind", "[core]") {
  const TemporaryFolder folder;
  const auto four = [](size_t) { return std::string_view("1234"); };
  const auto path = folder / "w.safetensors";
  CHECK_THROWS_AS(write_safetensors(path, {{.name = "a", .dtype = "F32", .shape = {2}}}, four, {}), std::invalid_argument);
  CHECK_THROWS_AS(write_safetensors(path, {{.name = "a", .dtype = "F33", .shape = {1}}}, four, {}), std::invalid_argument);
  CHECK_THROWS_AS(write_safetensors(path, {{.name = "__metadata__", .dtype = "F32", .shape = {1}}}, four, {{"k", "v"}}),
                  std::invalid_argument);
  const TensorEntry twice{.name = "a", .dtype = "F32", .shape = {1}};
  CHECK_THROWS_AS(write_safetensors(path, {twice, twice}, four, {}), std::invalid_argument);
  CHECK(std::filesystem::is_empty(folder.path()));
}

TEST_CASE("safetensors: a file cut anywhere is refused", "[core]") {
  const std::string whole = safetensors_bytes(
      R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[1],"data_offsets":[8,9]}})", "123456789");
  CHECK(complaint(whole).empty());
  for (size_t size = 0; size < whole.size(); ++size) {
    INFO("cut after " << size << " of " << whole.size() << " bytes");
    CHECK_FALSE(complaint(whole.substr(0, size)).empty());
  }
  CHECK_THAT(complaint(whole + "x"), ContainsSubstring("describes 9 bytes of data, the file holds 10"));
}

TEST_CASE("safetensors: header lengths that lie are refused before anything is allocated", "[core]") {
  for (const uint64_t length : {uint64_t{100'000'001}, std::numeric_limits<uint64_t>::max(), uint64_t{1} << 63, uint64_t{64}}) {
    std::string bytes(8, '\0');
    for (size_t i = 0; i < 8; ++i)
      bytes[i] = static_cast<char>(length >> (8 * i));
    CHECK_THAT(complaint(bytes + "{}"), ContainsSubstring("header"));
  }
}

TEST_CASE("safetensors: ranges that overlap, leave holes or contradict dtype and shape are refused", "[core]") {
  const auto two = [](const std::string& first, const std::string& second) {
    return R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)" + first + R"(},"b":{"dtype":"U8","shape":[4],"data_offsets":)" + second +
           "}}";
  };
  CHECK(complaint(two("[0,4]", "[4,8]"), "12345678").empty());
  CHECK_THAT(complaint(two("[0,4]", "[2,6]"), "123456"), ContainsSubstring("begins at 2"));
  CHECK_THAT(complaint(two("[0,4]", "[0,4]"), "1234"), ContainsSubstring("begins at 0"));
  CHECK_THAT(complaint(two("[0,4]", "[5,9]"), "123456789"), ContainsSubstring("begins at 5"));
  CHECK_THAT(complaint(two("[1,5]", "[5,9]"), "123456789"), ContainsSubstring("begins at 1"));
  CHECK_THAT(complaint(two("[0,4]", "[4,8]"), "123456"), ContainsSubstring("describes 8 bytes"));
  CHECK_THAT(complaint(two("[0,3]", "[3,7]"), "1234567"), ContainsSubstring("takes 4 bytes"));
  CHECK_THAT(complaint(two("[4,0]", "[4,8]"), "12345678"), ContainsSubstring("takes 4 bytes"));
  CHECK_THAT(complaint(two("[0,4]", "[18446744073709551612,0]"), "1234"), ContainsSubstring("takes 4 bytes"));
}

TEST_CASE("safetensors: shapes whose product overflows are refused, also behind a zero", "[core]") {
  const auto shaped = [](const std::string& shape, const std::string& end) {
    return R"({"a":{"dtype":"F32","shape":)" + shape + R"(,"data_offsets":[0,)" + end + "]}}";
  };
  CHECK_THAT(complaint(shaped("[4294967296,4294967296]", "0"), ""), ContainsSubstring("shape"));
  CHECK_THAT(complaint(shaped("[4611686018427387904]", "0"), ""), ContainsSubstring("shape"));
  CHECK_THAT(complaint(shaped("[0,4294967296,4294967296]", "0"), ""), ContainsSubstring("shape"));
  CHECK_THAT(complaint(shaped("[18446744073709551615]", "0"), ""), ContainsSubstring("shape"));
  CHECK_THAT(complaint(shaped("[-1]", "4"), "1234"), ContainsSubstring("non-negative"));
  CHECK_THAT(complaint(shaped("[1.5]", "4"), "1234"), ContainsSubstring("non-negative"));
}

TEST_CASE("safetensors: headers of a wrong form are refused", "[core]") {
  const std::string good = R"({"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  CHECK(complaint("{\"a\":" + good + "}", "x").empty());
  for (const std::string& header :
       {std::string("[]"), std::string("{"), std::string("null"), std::string("{\"a\":1}"), "{\"a\":" + good + ",\"a\":" + good + "}",
        "{\"a\":" + good + ",\"__metadata__\":{\"k\":1}}", "{\"a\":" + good + ",\"__metadata__\":[]}",
        std::string(R"({"a":{"dtype":"U9","shape":[1],"data_offsets":[0,1]}})"),
        std::string(R"({"a":{"dtype":1,"shape":[1],"data_offsets":[0,1]}})"), std::string(R"({"a":{"shape":[1],"data_offsets":[0,1]}})"),
        std::string(R"({"a":{"dtype":"U8","shape":1,"data_offsets":[0,1]}})"), std::string(R"({"a":{"dtype":"U8","data_offsets":[0,1]}})"),
        std::string(R"({"a":{"dtype":"U8","shape":[1]}})"), std::string(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,1]}})"),
        std::string(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":["0",1]}})"), std::string("{\"\xff\":") + good + "}",
        std::string(200, '[')}) {
    INFO(header);
    CHECK_FALSE(complaint(header, "x").empty());
  }
}
