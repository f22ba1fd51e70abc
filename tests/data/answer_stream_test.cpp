#include "data/answer_stream.h"

#include "core/utf8.h"
#include "data/sentencepiece_training.h"
#include "support/byte_tokenizer.h"
#include "support/test_plain.h"

using keel::core::Ids;
using keel::data::AnswerStream;
using keel::data::ChatFormat;

namespace {

// As real tokenizers do, it repairs the bytes of a character that is not whole.
class RepairingTokenizer : public keel::test::ByteTokenizer {
 public:
  std::string decode(const Ids& ids) const override { return keel::core::repair_utf8(ByteTokenizer::decode(ids)); }
};

// As decoders with byte fallback do: one bad byte spoils the whole run of bytes that are no ASCII.
class SpoilingTokenizer : public keel::test::ByteTokenizer {
 public:
  std::string decode(const Ids& ids) const override {
    const std::string text = ByteTokenizer::decode(ids);
    return keel::core::find_invalid_utf8(text) == std::string::npos ? text : "?";
  }
};

std::vector<std::string> pieces(const keel::data::Tokenizer& tokenizer, const ChatFormat& format, const std::string& text,
                                bool end = true) {
  AnswerStream stream(format, tokenizer);
  std::vector<std::string> all;
  for (const char c : text)
    all.push_back(stream.add(static_cast<unsigned char>(c)));
  if (end) all.push_back(stream.add(keel::test::ByteTokenizer::kEos));
  all.push_back(stream.finish());
  return all;
}

}  // namespace

TEST_CASE("answer stream: characters come whole, blanks around the answer and its end do not come at all", "[data]") {
  using Pieces = std::vector<std::string>;
  const RepairingTokenizer tokenizer;
  CHECK(pieces(tokenizer, ChatFormat::llama2, " a\xE2\x82\xAC b ") == Pieces{"", "a", "", "", "\xE2\x82\xAC", "", " b", "", "", ""});
  CHECK(pieces(tokenizer, ChatFormat::llama2, "a\xE2\x82", false) == Pieces{"a", "", "", "\xEF\xBF\xBD"});  // cut off inside a character
  CHECK(pieces(tokenizer, ChatFormat::llama2, "") == Pieces{"", ""});
}

TEST_CASE("answer stream: what a tokenizer takes back is shown again as a whole", "[data]") {
  CHECK(pieces(SpoilingTokenizer(), ChatFormat::llama2, "ab\xE2", false) == std::vector<std::string>{"a", "b", "", "\n?"});
}

TEST_CASE("answer stream: the pieces of a SentencePiece answer are its text", "[data]") {
  const keel::test::TemporaryFolder folder;
  keel::data::train_sentencepiece({"the boat is in the harbour", "the baker sells bread"}, 300, folder / "tokenizer.model");
  const auto tokenizer = keel::data::load_tokenizer(folder / "tokenizer.model");
  const std::string text = "the \xF0\x9F\x98\x80 boat\xE2\x82\xAC sells";  // bytes, for the training text has none of these
  AnswerStream stream(ChatFormat::llama2, *tokenizer);
  std::string all;
  for (const int64_t id : tokenizer->encode(text)) {
    const std::string piece = stream.add(id);
    CHECK(keel::core::find_invalid_utf8(piece) == std::string::npos);
    CHECK(piece.find("\xEF\xBF\xBD") == std::string::npos);
    all += piece;
  }
  CHECK(all + stream.finish() == text);
}
