#include "data/sentencepiece_tokenizer.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "data/chat_format.h"
#include "data/sentencepiece_training.h"
#include "data/tokenizer_export.h"
#include "support/test_plain.h"

using keel::core::DataError;
using keel::core::Ids;
using keel::data::load_tokenizer;
using keel::data::SentencePieceTokenizer;
using keel::data::train_sentencepiece;
using keel::test::TemporaryFolder;
using keel::test::write_text;

namespace {

const std::vector<std::string>& harbour_texts() {
  static const std::vector<std::string> texts = {
      "The ferry leaves the harbour at 7:45 and comes back at 19:30.\nThe fish market opens at 6.",
      "Two boats, three nets and 12 lanterns lie on the quay near the harbour.",
      "the cat sat on the mat,  and the other cat sat on the other mat"};
  return texts;
}

std::string trained_model(int64_t size = 330) {
  const TemporaryFolder folder;
  train_sentencepiece(harbour_texts(), size, folder / "t.model");
  return keel::test::read_text(folder / "t.model");
}

}  // namespace

TEST_CASE("sentencepiece: training is exact in size, repeatable and has the agreed ids", "[data]") {
  const std::string model = trained_model();
  CHECK(model == trained_model());
  const SentencePieceTokenizer tokenizer(model, "t.model");
  CHECK(tokenizer.vocab_size() == 330);
  CHECK(tokenizer.special("<unk>") == 0);
  CHECK(tokenizer.bos() == 1);
  CHECK(tokenizer.eos() == 2);
  CHECK(tokenizer.pad() == 3);
  CHECK(tokenizer.special("<s>") == 1);
  CHECK(tokenizer.special("</s>") == 2);
  CHECK(tokenizer.special("<pad>") == 3);
  CHECK_FALSE(tokenizer.special("the"));
  CHECK(tokenizer.adds_bos());
  CHECK(tokenizer.encode("the harbour").size() < 6);  // pieces longer than a letter were learnt
}

TEST_CASE("sentencepiece: any text comes back, digits stand alone, a newline is its byte", "[data]") {
  const SentencePieceTokenizer tokenizer(trained_model(), "t.model");
  for (const std::string& text : {std::string(""), std::string(" "), std::string("  two  spaces "), std::string("a\n\nb\t"),
                                  std::string("unseen: \xF0\x9F\xA6\x9C \xE4\xBD\xA0"), std::string("nul\0here", 8), std::string("1234 12"),
                                  std::string("<s>typed</s><pad><unk><0x0A>")}) {
    CHECK(tokenizer.decode(tokenizer.encode(text)) == text);
  }
  CHECK(tokenizer.encode("7 12").size() == 5);     // the blank in front is a piece too
  CHECK(tokenizer.encode("\n").back() == 4 + 10);  // the byte pieces follow <pad>
}

TEST_CASE("sentencepiece: no text becomes a special id, and special ids give no text", "[data]") {
  const SentencePieceTokenizer tokenizer(trained_model(), "t.model");
  for (const char* text : {"<s>", "</s>", "<pad>", "<unk>", "a</s>b", " <pad> </s>"}) {
    for (const int64_t id : tokenizer.encode(text))
      CHECK(id > 3);
  }
  Ids ids = tokenizer.encode("the cat");
  ids.insert(ids.begin(), 1);
  ids.insert(ids.begin() + 2, {0, 3});
  ids.push_back(2);
  CHECK(tokenizer.decode(ids) == "the cat");
}

TEST_CASE("sentencepiece: bad text and bad ids are refused, cut bytes become U+FFFD", "[data]") {
  const SentencePieceTokenizer tokenizer(trained_model(), "t.model");
  CHECK_THROWS_AS(tokenizer.encode("a\xC3"), std::invalid_argument);
  CHECK_THROWS_AS(tokenizer.decode({330}), std::out_of_range);
  CHECK_THROWS_AS(tokenizer.decode({-1}), std::out_of_range);
  CHECK_THROWS_AS(tokenizer.decode({int64_t{1} << 32}), std::out_of_range);
  Ids ids = tokenizer.encode("\xF0\x9F\xA6\x9C");
  ids.pop_back();
  CHECK(tokenizer.decode(ids).find("\xEF\xBF\xBD") != std::string::npos);
}

TEST_CASE("sentencepiece: a vocabulary that the texts cannot fill is refused", "[data]") {
  const TemporaryFolder folder;
  CHECK_THROWS_AS(train_sentencepiece(harbour_texts(), 100, folder / "t.model"), std::invalid_argument);
  CHECK_THROWS_AS(train_sentencepiece(harbour_texts(), 100'000, folder / "t.model"), std::invalid_argument);
  CHECK_THROWS_AS(train_sentencepiece({}, 300, folder / "t.model"), std::invalid_argument);
  CHECK_THROWS_AS(train_sentencepiece({"bad \xFF"}, 300, folder / "t.model"), std::invalid_argument);
  CHECK(std::filesystem::is_empty(folder.path()));
}

TEST_CASE("sentencepiece: the config beside a model decides BOS", "[data]") {
  const TemporaryFolder folder, target;
  write_text(folder / "tokenizer.model", trained_model());
  CHECK(load_tokenizer(folder.path())->adds_bos());
  write_text(folder / "tokenizer_config.json", R"({"add_bos_token": false, "pad_token": "</s>"})");
  CHECK_FALSE(load_tokenizer(folder / "tokenizer.model")->adds_bos());
  CHECK(load_tokenizer(folder.path())->pad() == 2);
  keel::data::write_tokenizer(folder.path(), target.path());
  CHECK_FALSE(load_tokenizer(target.path())->adds_bos());
  CHECK(load_tokenizer(target.path())->encode("the quay") == load_tokenizer(folder.path())->encode("the quay"));
}

TEST_CASE("sentencepiece: what goes on from a prompt keeps the blank between them", "[data]") {
  const SentencePieceTokenizer tokenizer(trained_model(), "t.model");
  const std::string text = "the ferry  leaves\nat \xF0\x9F\xA6\x9C 7:45 ";
  Ids all = tokenizer.encode(text);
  all.insert(all.begin(), *tokenizer.bos());
  all.push_back(*tokenizer.eos());
  for (size_t cut = 0; cut <= all.size(); ++cut) {
    const Ids prompt(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(cut)),
        rest(all.begin() + static_cast<std::ptrdiff_t>(cut), all.end());
    const std::string added = keel::data::continuation_text(tokenizer, prompt, rest), before = tokenizer.decode(prompt);
    // A prompt cut inside a character ends in U+FFFD: the whole character then belongs to the answer.
    CHECK(before.substr(0, before.find("\xEF\xBF\xBD")) + added == text);
  }
  CHECK(keel::data::continuation_text(tokenizer, tokenizer.encode("the"), tokenizer.encode("boats")) == " boats");
}

TEST_CASE("sentencepiece: a model cut or damaged anywhere is an error or harmless, never a crash", "[data]") {
  const std::string whole = trained_model();
  int refused = 0;
  const auto attempt = [&](const std::string& bytes) {
    try {
      const SentencePieceTokenizer tokenizer(bytes, "t.model");
      tokenizer.decode(tokenizer.encode("the cat </s>"));
    } catch (const DataError& error) {
      CHECK_THAT(error.what(), Catch::Matchers::StartsWith("t.model"));
      ++refused;
    }
  };
  for (size_t size = 0; size < whole.size(); size += 13)
    attempt(whole.substr(0, size));
  CHECK(refused > 300);
  for (size_t i = 0; i < whole.size(); i += 7) {
    std::string damaged = whole;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x81);
    attempt(damaged);
  }
  attempt("GG not a model");
  CHECK_THROWS_AS(SentencePieceTokenizer("", "t.model"), DataError);
  CHECK_THROWS_AS(SentencePieceTokenizer(std::string(1000, '\0'), "t.model"), DataError);
}

TEST_CASE("sentencepiece: stories260K's vectors", "[data]") {
  const auto folder = keel::test::shared_data() / "tinyllama/stories260K";
  const auto tokenizer = load_tokenizer(folder / "tok512.model");
  const auto golden = keel::core::read_json_file(folder / "golden.json");
  REQUIRE(golden["tokenizer_vectors"].size() >= 9);
  for (const auto& vector : golden["tokenizer_vectors"])
    CHECK(tokenizer->encode(vector["text"].get<std::string>()) == vector["ids"].get<Ids>());
}
