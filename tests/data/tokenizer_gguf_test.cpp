#include "data/tokenizer_gguf.h"

#include <nlohmann/json.hpp>
#include <sstream>

#include "core/error.h"
#include "data/tokenizer.h"
#include "data/tokenizer_export.h"
#include "support/gguf_builder.h"
#include "support/test_plain.h"

using Catch::Matchers::ContainsSubstring;
using keel::core::DataError;
using keel::core::Ids;
using keel::data::load_tokenizer;
using keel::test::TemporaryFolder;
using keel::test::write_text;
namespace gguf = keel::test::gguf;

namespace {

using Pairs = std::map<std::string, std::string>;  // metadata by key, without "tokenizer."

std::string vocabulary_file(const Pairs& pairs) {
  std::vector<std::string> metadata;
  for (const auto& [key, value] : pairs)
    metadata.push_back(gguf::pair("tokenizer." + key, value));
  return gguf::file(metadata, {}, "");
}

Pairs byte_level_pairs() {
  return {{"ggml.model", gguf::text("gpt2")},
          {"ggml.pre", gguf::text("smollm")},
          {"ggml.tokens", gguf::texts({"<|end|>", "a", "b", "1", "\xC4\xA0", "ab",
                                       "\xC4\xA0"
                                       "ab",
                                       "11", "<tool>"})},
          {"ggml.token_type", gguf::integers({3, 1, 1, 1, 1, 1, 1, 1, 4})},
          {"ggml.merges", gguf::texts({"a b", "\xC4\xA0 ab", "1 1"})},
          {"ggml.eos_token_id", gguf::number(0)},
          {"ggml.bos_token_id", gguf::number(0)},
          {"chat_template", gguf::text("{{ messages }}")}};
}

Pairs sentencepiece_pairs() {
  // The scores prefer "bc" to "ab": score order, not piece order, decides.
  return {{"ggml.model", gguf::text("llama")},
          {"ggml.tokens", gguf::texts({"<unk>", "<s>", "</s>", "\xE2\x96\x81", "a", "b", "c", "ab", "bc",
                                       "\xE2\x96\x81"
                                       "a"})},
          {"ggml.scores", gguf::reals({0, 0, 0, -9, -9, -9, -9, -2, -1, -3})},
          {"ggml.token_type", gguf::integers({2, 3, 3, 1, 1, 1, 1, 1, 1, 1})},
          {"ggml.bos_token_id", gguf::number(1)},
          {"ggml.eos_token_id", gguf::number(2)},
          {"ggml.unknown_token_id", gguf::number(0)}};
}

std::unique_ptr<keel::data::Tokenizer> loaded(const Pairs& pairs) {
  const TemporaryFolder folder;
  write_text(folder / "v.gguf", vocabulary_file(pairs));
  return load_tokenizer(folder / "v.gguf");
}

std::string complaint_with(Pairs pairs, const std::string& key, const std::string& value) {
  if (value.empty()) {
    pairs.erase(key);
  } else {
    pairs[key] = value;
  }
  try {
    loaded(pairs);
    return "";
  } catch (const DataError& error) {
    CHECK_THAT(error.what(), ContainsSubstring("v.gguf"));
    return error.what();
  }
}

// The texts of a ggml vocabulary test are divided by this line, their ids stand one line a text.
void check_vocabulary(const std::filesystem::path& tokenizer_path, const std::filesystem::path& vectors) {
  const auto tokenizer = load_tokenizer(tokenizer_path);
  const std::string inputs = keel::test::read_text(vectors.string() + ".inp"), divider = "\n__ggml_vocab_test__\n";
  std::ifstream expected(vectors.string() + ".out");
  size_t texts = 0;
  for (size_t begin = 0, end = 0; (end = inputs.find(divider, begin)) != std::string::npos; begin = end + divider.size()) {
    const std::string text = inputs.substr(begin, end - begin);
    std::string line;
    REQUIRE(std::getline(expected, line));
    std::istringstream numbers(line);
    INFO("text " << texts << ": " << text);
    CHECK(tokenizer->encode(text) == Ids(std::istream_iterator<int64_t>(numbers), {}));
    CHECK(tokenizer->decode(tokenizer->encode(text)) == text);
    ++texts;
  }
  CHECK(texts == 46);
}

}  // namespace

TEST_CASE("gguf tokenizer: byte-level pieces, merges, types and ids come from the metadata", "[data]") {
  const auto tokenizer = loaded(byte_level_pairs());
  CHECK(tokenizer->vocab_size() == 9);
  CHECK(tokenizer->encode("ab ab") == Ids{5, 6});
  CHECK(tokenizer->encode("11") == Ids{3, 3});           // smollm: digits stand alone, though a merge would join them
  CHECK(tokenizer->encode("a<tool>b") == Ids{1, 8, 2});  // user-defined tokens are found in text,
  CHECK(tokenizer->encode("<|end|>").empty());           // control tokens are not (and this vocabulary cannot spell it)
  CHECK(tokenizer->decode({6, 0, 8}) == " ab<tool>");
  CHECK(tokenizer->special("<|end|>") == 0);
  CHECK(tokenizer->eos() == 0);
  CHECK_FALSE(tokenizer->adds_bos());
  Pairs pairs = byte_level_pairs();
  pairs["ggml.pre"] = gguf::text("gpt-2");
  CHECK(loaded(pairs)->encode("11") == Ids{7});
  pairs["ggml.add_bos_token"] = gguf::flag(true);
  CHECK(loaded(pairs)->adds_bos());
}

TEST_CASE("gguf tokenizer: sentencepiece pieces merge by score", "[data]") {
  const auto tokenizer = loaded(sentencepiece_pairs());
  CHECK(tokenizer->encode("abc") == Ids{9, 8});
  CHECK(tokenizer->bos() == 1);
  CHECK(tokenizer->eos() == 2);
  CHECK(tokenizer->adds_bos());
  Pairs pairs = sentencepiece_pairs();
  pairs["ggml.scores"] = gguf::reals({0, 0, 0, -9, -9, -9, -9, -1, -2, -3});
  pairs["ggml.add_space_prefix"] = gguf::flag(false);
  pairs["ggml.add_bos_token"] = gguf::flag(false);
  const auto other = loaded(pairs);
  CHECK(other->encode("abc") == Ids{7, 6});
  CHECK_FALSE(other->adds_bos());
}

TEST_CASE("gguf tokenizer: what is written into a model directory gives the same ids", "[data]") {
  for (const Pairs& pairs : {byte_level_pairs(), sentencepiece_pairs()}) {
    const TemporaryFolder source, target;
    write_text(source / "v.gguf", vocabulary_file(pairs));
    keel::data::write_tokenizer(source / "v.gguf", target.path());
    const auto before = load_tokenizer(source / "v.gguf"), after = load_tokenizer(target.path());
    for (const char* text : {"abc ab", "11 a<tool>", "  a "})
      CHECK(before->encode(text) == after->encode(text));
    CHECK(before->eos() == after->eos());
    CHECK(before->bos() == after->bos());
    CHECK(before->adds_bos() == after->adds_bos());
  }
}

TEST_CASE("gguf tokenizer: the ends of a turn and of a message end an answer too, and go into the model directory", "[data]") {
  Pairs pairs = byte_level_pairs();
  pairs["ggml.eot_token_id"] = gguf::number(8);
  pairs["ggml.eom_token_id"] = gguf::number(0);  // the EOS itself
  CHECK(loaded(pairs)->stops() == Ids{8});
  const TemporaryFolder source, target;
  write_text(source / "v.gguf", vocabulary_file(pairs));
  keel::data::write_tokenizer(source / "v.gguf", target.path());
  CHECK(nlohmann::json::parse(keel::test::read_text(target / "generation_config.json")) == nlohmann::json{{"eos_token_id", {0, 8}}});
  CHECK(load_tokenizer(target.path())->stops() == Ids{8});
}

TEST_CASE("gguf tokenizer: metadata that contradicts itself is refused with the file's name", "[data]") {
  const Pairs bytes = byte_level_pairs(), pieces = sentencepiece_pairs();
  CHECK(complaint_with(bytes, "nothing", gguf::text("x")).empty());
  CHECK_THAT(complaint_with(bytes, "ggml.model", gguf::text("bert")), ContainsSubstring("'bert' is not supported"));
  CHECK_THAT(complaint_with(bytes, "ggml.model", ""), ContainsSubstring("tokenizer.ggml.model"));
  CHECK_THAT(complaint_with(bytes, "ggml.pre", gguf::text("viking")), ContainsSubstring("'viking' is not supported"));
  for (const char* unsaid : {"default", "unknown"})
    CHECK_THAT(complaint_with(bytes, "ggml.pre", gguf::text(unsaid)),
               ContainsSubstring("is not supported") && ContainsSubstring("--tokenizer"));
  CHECK_THAT(complaint_with(bytes, "ggml.pre", ""), ContainsSubstring("has no tokenizer.ggml.pre") && ContainsSubstring("--tokenizer"));
  CHECK_THAT(complaint_with(bytes, "ggml.eot_token_id", gguf::number(9)), ContainsSubstring("eot_token_id must be 0..8"));
  CHECK_THAT(complaint_with(bytes, "ggml.tokens", ""), ContainsSubstring("tokenizer.ggml.tokens"));
  CHECK_THAT(complaint_with(bytes, "ggml.tokens", gguf::text("x")), ContainsSubstring("array of strings"));
  CHECK_THAT(complaint_with(bytes, "ggml.merges", ""), ContainsSubstring("tokenizer.ggml.merges"));
  CHECK_THAT(complaint_with(bytes, "ggml.merges", gguf::texts({"a z"})), ContainsSubstring("names 'z'"));
  CHECK_THAT(complaint_with(bytes, "ggml.merges", gguf::texts({"a \xFF"})), ContainsSubstring("UTF-8"));
  CHECK_THAT(complaint_with(bytes, "ggml.token_type", gguf::integers({1, 1})), ContainsSubstring("as many token types"));
  CHECK_THAT(complaint_with(bytes, "ggml.eos_token_id", gguf::number(9)), ContainsSubstring("eos_token_id must be 0..8"));
  CHECK_THAT(complaint_with(bytes, "ggml.bos_token_id", gguf::text("x")), ContainsSubstring("bos_token_id"));
  CHECK_THAT(complaint_with(pieces, "ggml.scores", ""), ContainsSubstring("tokenizer.ggml.scores"));
  CHECK_THAT(complaint_with(pieces, "ggml.scores", gguf::reals({0, 1})), ContainsSubstring("as many scores"));
  CHECK_THAT(complaint_with(pieces, "ggml.token_type", ""), ContainsSubstring("SentencePiece"));  // no unknown piece then
  CHECK_THAT(complaint_with(pieces, "ggml.tokens", gguf::texts({"<unk>", "<s>", "</s>", "a", "a", "b", "c", "ab", "bc", "d"})),
             ContainsSubstring("SentencePiece"));
  CHECK_THAT(complaint_with(pieces, "ggml.tokens", gguf::texts({})), ContainsSubstring("v.gguf"));
  CHECK_THAT(complaint_with(bytes, "ggml.tokens", gguf::texts({"<|end|>", "a", "a", "1", "c", "ab", "x", "11", "<tool>"})),
             ContainsSubstring("stands twice"));
}

TEST_CASE("gguf tokenizer: GPT-2's and Llama 2's vocabularies give llama.cpp's ids for 46 texts each", "[data]") {
  const auto folder = keel::test::shared_data() / "tokenizer";
  check_vocabulary(folder / "ggml-vocab-gpt-2.gguf", folder / "ggml-vocab-gpt-2.gguf");
  check_vocabulary(folder / "ggml-vocab-llama-spm.gguf", folder / "ggml-vocab-llama-spm.gguf");
  check_vocabulary(folder / "tokenizer.model", folder / "ggml-vocab-llama-spm.gguf");
}
