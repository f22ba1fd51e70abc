#include "core/gguf.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/gguf_blocks.h"
#include "core/json.h"
#include "support/gguf_builder.h"
#include "support/test_plain.h"

using Catch::Matchers::ContainsSubstring;
using keel::core::DataError;
using keel::core::GgufFile;
using keel::core::GgufTensor;
using keel::test::bytes_of;
using keel::test::TemporaryFolder;
using keel::test::write_text;
namespace gguf = keel::test::gguf;

namespace {

// The error message for these bytes, "" if they are accepted.
std::string gguf_complaint(const std::string& bytes) {
  const TemporaryFolder folder;
  write_text(folder / "x.gguf", bytes);
  try {
    const GgufFile file(folder / "x.gguf");
    return "";
  } catch (const DataError& error) {
    CHECK(std::string(error.what()).find("x.gguf") != std::string::npos);
    return error.what();
  }
}

std::string sample_file() {
  const float values[] = {1, -2, 3.5F, 0, 5, 6};
  std::string data(reinterpret_cast<const char*>(values), sizeof values);
  data.append(8, '\0');
  data += bytes_of<uint16_t>(0x3C00) + bytes_of<uint16_t>(0xC000);  // 1 and -2 in half precision
  return gguf::file(
      {gguf::pair("general.architecture", gguf::kString, gguf::counted("llama")), gguf::pair("n", gguf::kU32, bytes_of(uint32_t{7})),
       gguf::pair("eps", gguf::kF32, bytes_of(.5F)), gguf::pair("huge", gguf::kU64, bytes_of(UINT64_MAX)),
       gguf::pair("yes", gguf::kBool, bytes_of(uint8_t{1})),
       gguf::pair("words", gguf::kArray, bytes_of(gguf::kString) + bytes_of(uint64_t{2}) + gguf::counted("a") + gguf::counted("")),
       gguf::pair("scores", gguf::kArray, bytes_of(gguf::kF32) + bytes_of(uint64_t{2}) + bytes_of(1.5F) + bytes_of(-1.F)),
       gguf::pair("types", gguf::kArray,
                  bytes_of(gguf::kI32) + bytes_of(uint64_t{3}) + bytes_of(int32_t{1}) + bytes_of(int32_t{-1}) + bytes_of(int32_t{6}))},
      {gguf::tensor_info("w", {3, 2}, 0, 0), gguf::tensor_info("h", {2}, 1, 32)}, data);
}

}  // namespace

TEST_CASE("gguf: a file written by hand gives its metadata and its tensors, rows first", "[core]") {
  const TemporaryFolder folder;
  write_text(folder / "a.gguf", sample_file());
  const GgufFile file(folder / "a.gguf");
  CHECK(file.text("general.architecture") == "llama");
  CHECK(file.integer("n") == 7);
  CHECK(file.integer("absent", -3) == -3);
  CHECK(file.number("eps") == .5);
  CHECK(file.number("n") == 7);
  CHECK(file.flag("yes", false));
  CHECK(file.flag("absent", true));
  CHECK(file.texts("words") == std::vector<std::string>{"a", ""});
  CHECK(file.numbers("scores") == std::vector<double>{1.5, -1});
  CHECK(file.integers("types") == std::vector<int64_t>{1, -1, 6});
  CHECK(file.text("absent", "x") == "x");
  REQUIRE(file.tensors().size() == 2);
  CHECK(file.tensors()[0].shape == std::vector<int64_t>{2, 3});
  CHECK(file.dequantised(file.tensors()[0]) == std::vector<float>{1, -2, 3.5F, 0, 5, 6});
  CHECK(file.dequantised(file.tensors()[1]) == std::vector<float>{1, -2});
}

TEST_CASE("gguf: a missing key and a value of another type are named", "[core]") {
  const TemporaryFolder folder;
  write_text(folder / "a.gguf", sample_file());
  const GgufFile file(folder / "a.gguf");
  CHECK_THROWS_WITH(file.integer("gone"), ContainsSubstring("'gone'") && ContainsSubstring("missing"));
  CHECK_THROWS_WITH(file.integer("eps", 1), ContainsSubstring("'eps' must be an integer"));
  CHECK_THROWS_WITH(file.integer("huge"), ContainsSubstring("'huge' must be an integer below 2^63"));
  CHECK_THROWS_WITH(file.text("n"), ContainsSubstring("'n' must be a string"));
  CHECK_THROWS_WITH(file.texts("scores"), ContainsSubstring("an array of strings"));
  CHECK_THROWS_AS(file.flag("n", false), DataError);
  CHECK_THROWS_AS(file.number("words"), DataError);
}

TEST_CASE("gguf: every block format gives the weights of gguf-py", "[core]") {
  // tools/oracle/gguf_blocks.py
  const auto cases = keel::core::read_json_file(std::filesystem::path(KEEL_SOURCE_DIR) / "tests/core/gguf_blocks.json");
  REQUIRE(cases.size() == 9);
  for (const auto& golden : cases) {
    const std::string hex = golden["hex"];
    std::string data;
    for (size_t i = 0; i < hex.size(); i += 2)
      data += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
    const auto expected = golden["weights"].get<std::vector<float>>();
    const TemporaryFolder folder;
    write_text(folder / "b.gguf", gguf::file({}, {gguf::tensor_info("t", {expected.size()}, golden["type"], 0)}, data));
    const GgufFile file(folder / "b.gguf");
    const auto weights = file.dequantised(file.tensors().at(0));
    REQUIRE(weights.size() == expected.size());
    double worst = 0;
    for (size_t i = 0; i < weights.size(); ++i)
      worst = std::max(worst, std::abs(double{weights[i]} - expected[i]) / (1e-3 + std::abs(expected[i])));
    INFO(golden["name"]);
    CHECK(worst < 1e-6);
  }
}

TEST_CASE("gguf: a file cut anywhere is refused", "[core]") {
  const std::string whole = sample_file();
  CHECK(gguf_complaint(whole).empty());
  for (size_t size = 0; size < whole.size(); ++size) {
    INFO("cut after " << size << " of " << whole.size() << " bytes");
    CHECK_FALSE(gguf_complaint(whole.substr(0, size)).empty());
  }
}

TEST_CASE("gguf: no single damaged byte crashes the reader", "[core]") {
  const std::string whole = sample_file();
  int refused = 0;
  for (size_t i = 0; i < whole.size(); ++i) {
    for (const char byte : {'\xFF', '\x01'}) {
      std::string damaged = whole;
      damaged[i] = byte;
      refused += gguf_complaint(damaged).empty() ? 0 : 1;
    }
  }
  CHECK(refused > 100);
}

TEST_CASE("gguf: a sound file of a form that is not read is named without calling it damaged", "[core]") {
  const std::string q5_k = gguf_complaint(gguf::file({}, {gguf::tensor_info("a", {256}, 13, 0)}, std::string(176, 'x')));
  CHECK_THAT(q5_k, ContainsSubstring("Q5_K") && ContainsSubstring("it reads F32") && !ContainsSubstring("damaged"));
  for (const auto& [type, name] : {std::pair{10U, "Q2_K"}, {11U, "Q3_K"}, {23U, "IQ4_XS"}, {28U, "F64"}, {39U, "MXFP4"}})
    CHECK_THAT(gguf_complaint(gguf::file({}, {gguf::tensor_info("a", {256}, type, 0)}, "x")), ContainsSubstring(name));
  const auto part = gguf_complaint(gguf::file(
      {gguf::pair("split.no", gguf::kU16, bytes_of(uint16_t{0})), gguf::pair("split.count", gguf::kU16, bytes_of(uint16_t{2}))}, {}, ""));
  CHECK_THAT(part, ContainsSubstring("is file 1 of 2 of a split model") && ContainsSubstring("llama-gguf-split --merge"));
  CHECK(gguf_complaint(gguf::file({gguf::pair("split.count", gguf::kU16, bytes_of(uint16_t{1}))}, {}, "")).empty());
}

TEST_CASE("gguf: wrong magic, versions and counts that cannot be are refused before anything is allocated", "[core]") {
  CHECK_THAT(gguf_complaint("GGML" + std::string(40, '\0')), ContainsSubstring("must begin with 'GGUF'"));
  for (const uint32_t version : {0U, 1U, 4U, 0x03000000U})
    CHECK_THAT(gguf_complaint(gguf::file({}, {}, "", version)), ContainsSubstring("version"));
  CHECK(gguf_complaint(gguf::file({}, {}, "", 2)).empty());
  const std::string start = "GGUF" + bytes_of(uint32_t{3});
  CHECK_THAT(gguf_complaint(start + bytes_of(UINT64_MAX) + bytes_of(uint64_t{0})), ContainsSubstring("cannot fit"));
  CHECK_THAT(gguf_complaint(start + bytes_of(uint64_t{0}) + bytes_of(UINT64_MAX)), ContainsSubstring("cannot fit"));
  const auto lying = [](const std::string& value) { return gguf::file({gguf::pair("k", gguf::kArray, value)}, {}, ""); };
  CHECK_THAT(gguf_complaint(lying(bytes_of(gguf::kString) + bytes_of(uint64_t{1} << 60))), ContainsSubstring("cannot fit"));
  CHECK_THAT(gguf_complaint(lying(bytes_of(gguf::kU32) + bytes_of(uint64_t{1} << 62))), ContainsSubstring("cannot fit"));
  CHECK_THAT(gguf_complaint(gguf::file({gguf::pair("k", gguf::kString, bytes_of(UINT64_MAX))}, {}, "")),
             ContainsSubstring("passes the end"));
}

TEST_CASE("gguf: unknown or repeated metadata is refused", "[core]") {
  CHECK_THAT(gguf_complaint(gguf::file({gguf::pair("k", 13, bytes_of(uint64_t{0}))}, {}, "")), ContainsSubstring("type 13"));
  CHECK_THAT(gguf_complaint(gguf::file({gguf::pair("k", gguf::kArray, bytes_of(gguf::kArray) + bytes_of(uint64_t{0}))}, {}, "")),
             ContainsSubstring("type 9"));
  CHECK_THAT(gguf_complaint(gguf::file({gguf::pair("k", gguf::kBool, bytes_of(uint8_t{2}))}, {}, "")), ContainsSubstring("boolean"));
  CHECK_THAT(gguf_complaint(gguf::file({gguf::pair("k", gguf::kU32, bytes_of(1U)), gguf::pair("k", gguf::kU32, bytes_of(1U))}, {}, "")),
             ContainsSubstring("stands twice"));
  CHECK_THAT(gguf_complaint(gguf::file({gguf::pair("general.alignment", gguf::kU32, bytes_of(0U))}, {}, "")),
             ContainsSubstring("power of two"));
  CHECK_THAT(gguf_complaint(gguf::file({gguf::pair("general.alignment", gguf::kU32, bytes_of(24U))}, {}, "")),
             ContainsSubstring("power of two"));
}

TEST_CASE("gguf: tensors that overlap, are misaligned, too large or cut through a block are refused", "[core]") {
  const auto with = [](const std::vector<std::string>& tensors, size_t bytes) {
    return gguf_complaint(gguf::file({}, tensors, std::string(bytes, 'x')));
  };
  CHECK(with({gguf::tensor_info("a", {8}, 0, 0), gguf::tensor_info("b", {8}, 0, 32)}, 64).empty());
  CHECK(with({gguf::tensor_info("b", {8}, 0, 32), gguf::tensor_info("a", {8}, 0, 0)}, 64).empty());
  CHECK_THAT(with({gguf::tensor_info("a", {9}, 0, 0), gguf::tensor_info("b", {8}, 0, 32)}, 64), ContainsSubstring("overlap"));
  CHECK_THAT(with({gguf::tensor_info("a", {8}, 0, 0), gguf::tensor_info("a", {8}, 0, 32)}, 64), ContainsSubstring("stands twice"));
  CHECK_THAT(with({gguf::tensor_info("a", {8}, 0, 4)}, 64), ContainsSubstring("multiple of 32"));
  CHECK_THAT(with({gguf::tensor_info("a", {8}, 0, 64)}, 64), ContainsSubstring("passes the 64 bytes"));
  CHECK_THAT(with({gguf::tensor_info("a", {8}, 0, UINT64_MAX - 31)}, 64), ContainsSubstring("passes the 64 bytes"));
  CHECK_THAT(with({gguf::tensor_info("a", {33}, 8, 0)}, 64), ContainsSubstring("whole Q8_0 blocks of 32"));
  CHECK_THAT(with({gguf::tensor_info("a", {16, 2}, 8, 0)}, 64), ContainsSubstring("whole Q8_0 blocks of 32"));
  CHECK_THAT(with({gguf::tensor_info("a", {8}, 10, 0)}, 64), ContainsSubstring("ggml type 10"));
  CHECK_THAT(with({gguf::tensor_info("a", {0}, 0, 0)}, 64), ContainsSubstring("shape"));
  CHECK_THAT(with({gguf::tensor_info("a", {uint64_t{1} << 32, uint64_t{1} << 32}, 0, 0)}, 64), ContainsSubstring("shape"));
  CHECK_THAT(with({gguf::tensor_info("a", {uint64_t{1} << 62}, 0, 0)}, 64), ContainsSubstring("shape"));
  CHECK_THAT(with({gguf::tensor_info("a", {1, 1, 1, 1, 1}, 0, 0)}, 64), ContainsSubstring("at most 4"));
}
