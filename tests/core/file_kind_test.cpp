#include "core/file_kind.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/gguf.h"
#include "core/json.h"
#include "core/safetensors.h"
#include "support/test_plain.h"

using Catch::Matchers::ContainsSubstring;
using keel::core::DataError;
using keel::core::foreign_file;

TEST_CASE("file kind: well-known files that keel does not read are told by their first bytes", "[core]") {
  struct Case {
    std::string head, says;
  };
  const auto [head, says] = GENERATE(
      Case{"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"}, Case{"PK\x03\x04zip", "torch.save"},
      Case{"\x80\x02}q", "pickle"}, Case{"ARROW1", "Arrow"}, Case{"BZh9", "bzip2"}, Case{std::string("\xFD\x37zXZ\0", 6), "xz"},
      Case{"%PDF-1.7", "PDF"}, Case{"<html><body>", "web page"}, Case{std::string(257, 'x') + "ustar" + std::string(9, '\0'), "tar"},
      Case{"ggjt\1", "before GGUF"}, Case{"IQ== 0\nIg== 1\n", "tiktoken"}, Case{std::string("{\0", 2) + "x", ""}, Case{"GGUF", ""},
      Case{"{\"a\": 1}", ""}, Case{"some text 7", ""}, Case{"", ""});
  INFO(head);
  CHECK_THAT(foreign_file(head), says.empty() ? ContainsSubstring("") : ContainsSubstring(says));
  CHECK(foreign_file(head).empty() == says.empty());
}

TEST_CASE("file kind: a Git LFS pointer is called that in place of weights and of a configuration", "[core]") {
  const keel::test::TemporaryFolder folder;
  keel::test::write_text(folder / "model.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1040128\n");
  CHECK_THROWS_WITH(keel::core::SafetensorsFile(folder / "model.safetensors"),
                    ContainsSubstring("model.safetensors: is a Git LFS pointer") && ContainsSubstring("git lfs pull"));
  CHECK_THROWS_WITH(keel::core::read_json_file(folder / "model.safetensors"), ContainsSubstring("Git LFS pointer"));
}

TEST_CASE("file kind: a compressed file and another container are called that, not damaged", "[core]") {
  const keel::test::TemporaryFolder folder;
  const auto path = folder / "file";
  const std::string safetensors = std::string("\x02\0\0\0\0\0\0\0", 8) + R"({"a":1})";
  struct Case {
    std::string bytes, says;
  };
  for (const auto& [bytes, says] : {Case{"\x1F\x8B\x08\x08", "compressed with gzip"}, Case{"\x28\xB5\x2F\xFDx", "compressed with zstd"}}) {
    keel::test::write_text(path, bytes);
    CHECK_THROWS_WITH(keel::core::SafetensorsFile(path), ContainsSubstring(says));
    CHECK_THROWS_WITH(keel::core::GgufFile(path), ContainsSubstring(says));
    CHECK_THROWS_WITH(keel::core::read_json_file(path), ContainsSubstring(says));
  }
  keel::test::write_text(path, "GGUF\3");
  CHECK_THROWS_WITH(keel::core::SafetensorsFile(path), ContainsSubstring("is a GGUF file"));
  keel::test::write_text(path, safetensors);
  CHECK_THROWS_WITH(keel::core::GgufFile(path), ContainsSubstring("is a safetensors file"));
  CHECK_THROWS_WITH(keel::core::read_json_file(path), ContainsSubstring("is a safetensors file"));
}
