#include "data/token_runs.h"

#include "data/chat_format.h"
#include "data/sentencepiece_training.h"
#include "support/byte_tokenizer.h"
#include "support/test_plain.h"

using keel::data::TokenRun;

namespace {

std::string shown(const std::vector<TokenRun>& runs) {
  std::string text;
  for (const TokenRun& run : runs)
    text += (run.learned ? "[" : "(") + run.text + (run.special ? "!" : "") + (run.learned ? "]" : ")");
  return text;
}

}  // namespace

TEST_CASE("token runs: special ids by name, text in runs of one kind, blanks kept", "[data]") {
  const keel::test::TemporaryFolder folder;
  keel::data::train_sentencepiece({"the boat is in the harbour", "who sells bread? the baker."}, 300, folder / "tokenizer.model");
  const auto tokenizer = keel::data::load_tokenizer(folder / "tokenizer.model");
  const auto sequence = keel::data::render(keel::data::ChatFormat::llama2, *tokenizer,
                                           {{{"user", "who?"}, {"assistant", "the baker </s>"}, {"user", "b"}, {"assistant", "c", false}}});
  // A typed "</s>" is text; the blank before an answer is that of the format.
  CHECK(shown(keel::data::token_runs(*tokenizer, sequence)) ==
        "(<s>!)([INST] who? [/INST])[ the baker </s> ][</s>!](<s>!)( [INST] b [/INST] c )(</s>!)");
  CHECK(keel::data::special_text(*tokenizer, 2) == "</s>");
  CHECK(keel::data::special_text(*tokenizer, 5000) == "<id 5000>");
}

TEST_CASE("token runs: a character that two runs share stands in the second", "[data]") {
  const keel::test::ByteTokenizer tokenizer;
  const auto runs = keel::data::token_runs(tokenizer, {.ids = {'a', 0xC3, 0xA9}, .loss_mask = {false, false, true}});
  CHECK(shown(runs) == "(a\xC3)[\xC3\xA9]");  // this tokenizer does not repair
  CHECK(shown(keel::data::token_runs(tokenizer, {.ids = {9999}, .loss_mask = {false}})) == "(<id 9999>!)");
}
