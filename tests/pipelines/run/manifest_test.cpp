#include "pipelines/run/manifest.h"

#include <chrono>

#include "core/error.h"
#include "core/files.h"
#include "support/test_plain.h"

namespace keel::pipelines::run {
namespace {

namespace fs = std::filesystem;
using Catch::Matchers::ContainsSubstring;
using keel::test::write_text;

// FIPS 180-4's example and the digest of nothing.
const std::string kShaOfAbc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const std::string kShaOfNothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

void write_outputs(const fs::path& folder) {
  fs::create_directories(folder / "model");
  write_text(folder / "model" / "weights.bin", "");
  write_text(folder / "a.txt", "abc");
}

Manifest some_manifest(const fs::path& folder) {
  Manifest manifest;
  manifest.stage = "sft";
  manifest.material = R"({"config":{"lr":0.001},"seed":18446744073709551615})";
  manifest.key = core::sha256(manifest.material);
  manifest.inputs = {{"pretrain", {kShaOfNothing, kShaOfAbc}}};
  manifest.outputs = collect_outputs(folder, {});
  manifest.versions = {{"keel", "0.1.0"}, {"torch", "2.11.0"}};
  manifest.threads = 2;
  manifest.attempts = 3;
  manifest.seconds = 1.25;
  manifest.started = "2024-05-01T12:00:00Z";
  manifest.finished = "2024-05-01T12:00:02Z";
  return manifest;
}

}  // namespace

TEST_CASE("manifest: outputs are every file, sorted and hashed, but no scratch, temporaries or records", "[pipelines]") {
  const test::TemporaryFolder folder;
  write_outputs(folder.path());
  for (const char* name : {"manifest.json", "attempt.json", ".a.txt.123-0.tmp", "model/.weights.bin.1.tmp"})
    write_text(folder / name, "x");
  fs::create_directories(folder / "ckpt" / "step-1");
  fs::create_directories(folder / ".cache");
  write_text(folder / "ckpt" / "step-1" / "state", "x");
  write_text(folder / ".cache" / "x", "x");
  write_text(folder / "model" / "manifest.json", "abc");  // only the one at the top is keel's
  const auto outputs = collect_outputs(folder.path(), {"ckpt"});
  REQUIRE(outputs.size() == 3);
  CHECK(outputs[0].path == "a.txt");
  CHECK(outputs[0].bytes == 3);
  CHECK(outputs[0].sha256 == kShaOfAbc);
  CHECK(outputs[1].path == "model/manifest.json");
  CHECK(outputs[2].path == "model/weights.bin");
  CHECK(outputs[2].bytes == 0);
  CHECK(outputs[2].sha256 == kShaOfNothing);
}

TEST_CASE("manifest: a link among the outputs is refused, for its target could change", "[pipelines]") {
  const test::TemporaryFolder folder;
  fs::create_symlink("/dev/null", folder / "link");
  CHECK_THROWS_WITH(collect_outputs(folder.path(), {}), ContainsSubstring("must be a file or a folder"));
}

TEST_CASE("manifest: the content digest is that of names and bytes, not of files that tell the time", "[pipelines]") {
  const test::TemporaryFolder folder;
  write_outputs(folder.path());
  // Python: sha256(json.dumps([["a.txt", sha256("abc")], ["model/weights.bin", sha256("")]], separators=(',', ':')))
  const std::string expected = "b46aa856f9519246567d9bd98c70a666fad4be43de7b5b286643b1851a804111";
  CHECK(content_digest(collect_outputs(folder.path(), {})) == expected);
  for (const char* name : {"events.out.tfevents.17.host.1.0", "run.log", "timings.json", "timings.jsonl"})
    write_text(folder / "model" / name, "now");
  CHECK(content_digest(collect_outputs(folder.path(), {})) == expected);
  fs::rename(folder / "a.txt", folder / "b.txt");
  CHECK(content_digest(collect_outputs(folder.path(), {})) != expected);
}

TEST_CASE("manifest: what is written is read back", "[pipelines]") {
  const test::TemporaryFolder folder;
  write_outputs(folder.path());
  CHECK_FALSE(read_manifest(folder.path()).has_value());
  CHECK_FALSE(read_manifest(folder / "missing").has_value());
  const Manifest written = some_manifest(folder.path());
  write_manifest(folder.path(), written);
  const auto manifest = read_manifest(folder.path());
  REQUIRE(manifest.has_value());
  CHECK(manifest->stage == "sft");
  CHECK(manifest->key == written.key);
  CHECK(manifest->material == written.material);  // the largest seed survives
  CHECK(manifest->inputs.at("pretrain").key == kShaOfNothing);
  CHECK(manifest->inputs.at("pretrain").digest == kShaOfAbc);
  CHECK(content_digest(manifest->outputs) == content_digest(written.outputs));
  CHECK(manifest->outputs[0].bytes == 3);
  CHECK(manifest->versions == written.versions);
  CHECK(manifest->threads == 2);
  CHECK(manifest->attempts == 3);
  CHECK(manifest->seconds == 1.25);
  CHECK(manifest->started == written.started);
  CHECK(manifest->finished == written.finished);
}

TEST_CASE("manifest: a damaged one is bad input, with the way out", "[pipelines]") {
  const test::TemporaryFolder folder;
  write_outputs(folder.path());
  write_manifest(folder.path(), some_manifest(folder.path()));
  const std::string whole = test::read_text(folder / "manifest.json");
  std::string other_material = whole;
  other_material.replace(whole.find("0.001"), 5, "0.002");
  const std::string damaged = GENERATE_COPY(whole.substr(0, whole.size() / 2), std::string(), std::string("[]"),
                                            std::string("{\"stage\": 7}"), "\xff" + whole, other_material);
  write_text(folder / "manifest.json", damaged);
  CHECK_THROWS_AS(read_manifest(folder.path()), core::DataError);
  CHECK_THROWS_WITH(read_manifest(folder.path()), ContainsSubstring("delete the folder " + folder.path().string()));
}

TEST_CASE("manifest: nothing is written into a finished result; beside it, and beside another program's manifest, all may be",
          "[pipelines]") {
  const test::TemporaryFolder folder;
  write_outputs(folder / "result");
  write_manifest(folder / "result", some_manifest(folder / "result"));
  fs::create_directory_symlink("result", folder / "current");
  for (const char* inside : {"result", "result/a.txt", "result/model/fresh.jsonl", "result/deep/run", "current/a.txt", "other/../result/x"})
    CHECK_THROWS_WITH(check_outside_results(folder / inside), ContainsSubstring("lies in the finished result"));
  write_text(folder / "manifest.json", "{\"name\": \"a web page\"}");
  for (const char* outside : {"", "a.txt", "results/a.txt", "new/run"})
    CHECK_NOTHROW(check_outside_results(folder / outside));
}

TEST_CASE("manifest: missing, resized and changed outputs are told apart", "[pipelines]") {
  const test::TemporaryFolder folder;
  write_outputs(folder.path());
  const Manifest manifest = some_manifest(folder.path());
  write_manifest(folder.path(), manifest);
  const auto finished = fs::last_write_time(folder / "manifest.json");
  CHECK_NOTHROW(check_outputs(folder.path(), manifest, OutputCheck::digests));

  write_text(folder / "a.txt", "abd");  // one bit
  CHECK_NOTHROW(check_outputs(folder.path(), manifest, OutputCheck::sizes));
  fs::last_write_time(folder / "a.txt", finished + std::chrono::seconds(1));
  CHECK_THROWS_WITH(check_outputs(folder.path(), manifest, OutputCheck::touched),
                    ContainsSubstring("a.txt: ") && ContainsSubstring("SHA-256"));
  fs::last_write_time(folder / "a.txt", finished - std::chrono::seconds(1));  // as if the disk had flipped the bit
  CHECK_NOTHROW(check_outputs(folder.path(), manifest, OutputCheck::touched));
  CHECK_THROWS_WITH(check_outputs(folder.path(), manifest, OutputCheck::digests),
                    ContainsSubstring("a.txt: ") && ContainsSubstring("SHA-256"));
  write_text(folder / "a.txt", "abcd");
  CHECK_THROWS_WITH(check_outputs(folder.path(), manifest, OutputCheck::touched),
                    ContainsSubstring("a.txt: ") && ContainsSubstring("had 3 bytes and now has 4"));
  fs::remove(folder / "a.txt");
  CHECK_THROWS_AS(check_outputs(folder.path(), manifest, OutputCheck::touched), core::DataError);
  CHECK_THROWS_WITH(check_outputs(folder.path(), manifest, OutputCheck::touched),
                    ContainsSubstring("a.txt: ") && ContainsSubstring("delete the folder " + folder.path().string()));
}

}  // namespace keel::pipelines::run
