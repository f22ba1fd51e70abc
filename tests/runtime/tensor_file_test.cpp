#include "runtime/tensor_file.h"

#include "core/error.h"
#include "core/safetensors.h"
#include "support/test.h"

using Catch::Matchers::ContainsSubstring;
using keel::core::DataError;
using keel::runtime::load_tensors;
using keel::runtime::Parameters;
using keel::runtime::save_tensors;

namespace {

bool same_bytes(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor x = a.contiguous(), y = b.contiguous();
  return x.scalar_type() == y.scalar_type() && x.sizes() == y.sizes() &&
         (x.nbytes() == 0 || std::memcmp(x.const_data_ptr(), y.const_data_ptr(), x.nbytes()) == 0);
}

}  // namespace

TEST_CASE("tensor file: every dtype, shape and metadata come back bit for bit", "[runtime]") {
  const keel::test::TemporaryFolder folder;
  Parameters written;
  for (const auto type :
       {at::kFloat, at::kDouble, at::kHalf, at::kBFloat16, at::kLong, at::kInt, at::kShort, at::kChar, at::kByte, at::kBool})
    written.push_back({c10::toString(type), (at::arange(6, at::kFloat) * 1.7).to(type).view({2, 3})});
  written.push_back({"scalar", at::tensor(2.5)});
  written.push_back({"empty", at::empty({0, 3})});
  written.push_back({"special", at::tensor(std::vector<float>{-0.F, INFINITY, -NAN, 1e-45F})});
  written.push_back({"transposed", at::arange(6, at::kFloat).view({2, 3}).t()});

  const std::string digest = save_tensors(folder / "x.safetensors", written, {{"format", "pt"}, {"note", "caf\xc3\xa9 \"1\""}});
  const auto read = load_tensors(folder / "x.safetensors");
  CHECK(digest == keel::core::sha256_file(folder / "x.safetensors"));
  CHECK(read.metadata == std::map<std::string, std::string>{{"format", "pt"}, {"note", "caf\xc3\xa9 \"1\""}});
  REQUIRE(read.tensors.size() == written.size());
  for (const auto& [name, value] : written) {
    INFO(name);
    CHECK(same_bytes(read.tensors.at(name), value));
  }
}

TEST_CASE("tensor file: what is read owns its memory", "[runtime]") {
  const keel::test::TemporaryFolder folder;
  save_tensors(folder / "x.safetensors", {{"w", at::ones({3})}}, {});
  const auto read = load_tensors(folder / "x.safetensors");
  save_tensors(folder / "x.safetensors", {{"w", at::zeros({3})}}, {});
  CHECK_CLOSE(read.tensors.at("w"), at::ones({3}), 0);
  read.tensors.at("w").fill_(7);  // and may be written
}

TEST_CASE("tensor file: dtypes without a counterpart are refused in both directions", "[runtime]") {
  const keel::test::TemporaryFolder folder;
  CHECK_THROWS_AS(save_tensors(folder / "x.safetensors", {{"z", at::zeros({2}, at::kComplexFloat)}}, {}), c10::Error);
  CHECK_FALSE(std::filesystem::exists(folder / "x.safetensors"));
  keel::core::write_safetensors(folder / "f8.safetensors", {{.name = "w", .dtype = "F8_E4M3", .shape = {2}}},
                                [](size_t) { return std::string_view("ab"); }, {});
  CHECK_THROWS_WITH(load_tensors(folder / "f8.safetensors"),
                    ContainsSubstring("tensor w has dtype F8_E4M3") && ContainsSubstring("f8.safe"));
}

TEST_CASE("tensor file: cut anywhere it is refused", "[runtime]") {
  const keel::test::TemporaryFolder folder;
  save_tensors(folder / "x.safetensors", {{"w", at::ones({3})}}, {});
  const std::string bytes = keel::test::read_text(folder / "x.safetensors");
  for (size_t length = 0; length < bytes.size(); length += 3) {
    keel::test::write_text(folder / "cut.safetensors", bytes.substr(0, length));
    CHECK_THROWS_AS(load_tensors(folder / "cut.safetensors"), DataError);
  }
  CHECK_THROWS_AS(load_tensors(folder / "none.safetensors"), keel::core::UsageError);
}
