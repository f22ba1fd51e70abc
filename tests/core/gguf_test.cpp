#include "core/gguf.h"

#include <cstring>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/gguf_blocks.h"
#include "core/json.h"
#include "support/test_plain.h"

using Catch::Matchers::ContainsSubstring;
using keel::core::DataError;
using keel::core::GgufFile;
using keel::core::GgufTensor;
using keel::test::TemporaryFolder;
using keel::test::write_text;

namespace {

template <class T>
std::string raw(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}
std::string raw_text(const std::string& text) {
  return raw<uint64_t>(text.size()) + text;
}
std::string pair(const std::string& key, uint32_t type, const std::string& value) {
  return raw_text(key) + raw(type) + value;
}
std::string tensor_info(const std::string& name, const std::vector<uint64_t>& sizes, uint32_t type, uint64_t offset) {
  std::string bytes = raw_text(name) + raw(static_cast<uint32_t>(sizes.size()));
  for (const uint64_t size : sizes)
    bytes += raw(size);
  return bytes + raw(type) + raw(offset);
}
std::string gguf_bytes(const std::vector<std::string>& pairs, const std::vector<std::string>& tensors, const std::string& data,
                       uint32_t version = 3, size_t alignment = 32) {
  std::string bytes = "GGUF" + raw(version) + raw<uint64_t>(tensors.size()) + raw<uint64_t>(pairs.size());
  for (const auto& text : pairs)
    bytes += text;
  for (const auto& text : tensors)
    bytes += text;
  if (!data.empty()) bytes.append((alignment - bytes.size() % alignment) % alignment, '\0');
  return bytes + data;
}

constexpr uint32_t kU32 = 4, kF32 = 6, kBool = 7, kString = 8, kArray = 9, kU64 = 10;

// The message that reading these bytes gives, "" when they are accepted.
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
  data += raw<uint16_t>(0x3C00) + raw<uint16_t>(0xC000);  // 1 and -2 in half precision
  return gguf_bytes({pair("general.architecture", kString, raw_text("llama")), pair("n", kU32, raw(uint32_t{7})),
                     pair("eps", kF32, raw(.5F)), pair("huge", kU64, raw(UINT64_MAX)), pair("yes", kBool, raw(uint8_t{1})),
                     pair("words", kArray, raw(kString) + raw(uint64_t{2}) + raw_text("a") + raw_text("")),
                     pair("scores", kArray, raw(kF32) + raw(uint64_t{2}) + raw(1.5F) + raw(-1.F)),
                     pair("types", kArray, raw(uint32_t{5}) + raw(uint64_t{3}) + raw(int32_t{1}) + raw(int32_t{-1}) + raw(int32_t{6}))},
                    {tensor_info("w", {3, 2}, 0, 0), tensor_info("h", {2}, 1, 32)}, data);
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
    write_text(folder / "b.gguf", gguf_bytes({}, {tensor_info("t", {expected.size()}, golden["type"], 0)}, data));
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
  const std::string q5_k = gguf_complaint(gguf_bytes({}, {tensor_info("a", {256}, 13, 0)}, std::string(176, 'x')));
  CHECK_THAT(q5_k, ContainsSubstring("Q5_K") && ContainsSubstring("it reads F32") && !ContainsSubstring("damaged"));
  for (const auto& [type, name] : {std::pair{10U, "Q2_K"}, {11U, "Q3_K"}, {23U, "IQ4_XS"}, {28U, "F64"}, {39U, "MXFP4"}})
    CHECK_THAT(gguf_complaint(gguf_bytes({}, {tensor_info("a", {256}, type, 0)}, "x")), ContainsSubstring(name));
  const auto part = gguf_complaint(gguf_bytes({pair("split.no", 2, raw(uint16_t{0})), pair("split.count", 2, raw(uint16_t{2}))}, {}, ""));
  CHECK_THAT(part, ContainsSubstring("is file 1 of 2 of a split model") && ContainsSubstring("llama-gguf-split --merge"));
  CHECK(gguf_complaint(gguf_bytes({pair("split.count", 2, raw(uint16_t{1}))}, {}, "")).empty());
}

TEST_CASE("gguf: wrong magic, versions and counts that cannot be are refused before anything is allocated", "[core]") {
  CHECK_THAT(gguf_complaint("GGML" + std::string(40, '\0')), ContainsSubstring("must begin with 'GGUF'"));
  for (const uint32_t version : {0U, 1U, 4U, 0x03000000U})
    CHECK_THAT(gguf_complaint(gguf_bytes({}, {}, "", version)), ContainsSubstring("version"));
  CHECK(gguf_complaint(gguf_bytes({}, {}, "", 2)).empty());
  const std::string start = "GGUF" + raw(uint32_t{3});
  CHECK_THAT(gguf_complaint(start + raw(UINT64_MAX) + raw(uint64_t{0})), ContainsSubstring("cannot fit"));
  CHECK_THAT(gguf_complaint(start + raw(uint64_t{0}) + raw(UINT64_MAX)), ContainsSubstring("cannot fit"));
  const auto lying = [](const std::string& value) { return gguf_bytes({pair("k", kArray, value)}, {}, ""); };
  CHECK_THAT(gguf_complaint(lying(raw(kString) + raw(uint64_t{1} << 60))), ContainsSubstring("cannot fit"));
  CHECK_THAT(gguf_complaint(lying(raw(kU32) + raw(uint64_t{1} << 62))), ContainsSubstring("cannot fit"));
  CHECK_THAT(gguf_complaint(gguf_bytes({pair("k", kString, raw(UINT64_MAX))}, {}, "")), ContainsSubstring("passes the end"));
}

TEST_CASE("gguf: unknown or repeated metadata is refused", "[core]") {
  CHECK_THAT(gguf_complaint(gguf_bytes({pair("k", 13, raw(uint64_t{0}))}, {}, "")), ContainsSubstring("type 13"));
  CHECK_THAT(gguf_complaint(gguf_bytes({pair("k", kArray, raw(kArray) + raw(uint64_t{0}))}, {}, "")), ContainsSubstring("type 9"));
  CHECK_THAT(gguf_complaint(gguf_bytes({pair("k", kBool, raw(uint8_t{2}))}, {}, "")), ContainsSubstring("boolean"));
  CHECK_THAT(gguf_complaint(gguf_bytes({pair("k", kU32, raw(1U)), pair("k", kU32, raw(1U))}, {}, "")), ContainsSubstring("stands twice"));
  CHECK_THAT(gguf_complaint(gguf_bytes({pair("general.alignment", kU32, raw(0U))}, {}, "")), ContainsSubstring("power of two"));
  CHECK_THAT(gguf_complaint(gguf_bytes({pair("general.alignment", kU32, raw(24U))}, {}, "")), ContainsSubstring("power of two"));
}

TEST_CASE("gguf: tensors that overlap, are misaligned, too large or cut through a block are refused", "[core]") {
  const auto with = [](const std::vector<std::string>& tensors, size_t bytes) {
    return gguf_complaint(gguf_bytes({}, tensors, std::string(bytes, 'x')));
  };
  CHECK(with({tensor_info("a", {8}, 0, 0), tensor_info("b", {8}, 0, 32)}, 64).empty());
  CHECK(with({tensor_info("b", {8}, 0, 32), tensor_info("a", {8}, 0, 0)}, 64).empty());
  CHECK_THAT(with({tensor_info("a", {9}, 0, 0), tensor_info("b", {8}, 0, 32)}, 64), ContainsSubstring("overlap"));
  CHECK_THAT(with({tensor_info("a", {8}, 0, 0), tensor_info("a", {8}, 0, 32)}, 64), ContainsSubstring("stands twice"));
  CHECK_THAT(with({tensor_info("a", {8}, 0, 4)}, 64), ContainsSubstring("multiple of 32"));
  CHECK_THAT(with({tensor_info("a", {8}, 0, 64)}, 64), ContainsSubstring("passes the 64 bytes"));
  CHECK_THAT(with({tensor_info("a", {8}, 0, UINT64_MAX - 31)}, 64), ContainsSubstring("passes the 64 bytes"));
  CHECK_THAT(with({tensor_info("a", {33}, 8, 0)}, 64), ContainsSubstring("whole Q8_0 blocks of 32"));
  CHECK_THAT(with({tensor_info("a", {16, 2}, 8, 0)}, 64), ContainsSubstring("whole Q8_0 blocks of 32"));
  CHECK_THAT(with({tensor_info("a", {8}, 10, 0)}, 64), ContainsSubstring("ggml type 10"));
  CHECK_THAT(with({tensor_info("a", {0}, 0, 0)}, 64), ContainsSubstring("shape"));
  CHECK_THAT(with({tensor_info("a", {uint64_t{1} << 32, uint64_t{1} << 32}, 0, 0)}, 64), ContainsSubstring("shape"));
  CHECK_THAT(with({tensor_info("a", {uint64_t{1} << 62}, 0, 0)}, 64), ContainsSubstring("shape"));
  CHECK_THAT(with({tensor_info("a", {1, 1, 1, 1, 1}, 0, 0)}, 64), ContainsSubstring("at most 4"));
}
