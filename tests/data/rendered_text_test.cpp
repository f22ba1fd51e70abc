#include "data/rendered_text.h"

#include "data/chat_format.h"
#include "data/sentencepiece_training.h"
#include "support/byte_tokenizer.h"
#include "support/test_plain.h"

namespace keel::data {

TEST_CASE("rendered text: special tokens by their text, the longest first; the ids are those of the dialogue that was rendered", "[data]") {
  const test::TemporaryFolder folder;
  train_sentencepiece({"[INST] the boat is in the harbour [/INST]", "who sells bread? the baker sells bread and the tailor mends coats"},
                      300, folder / "tokenizer.model");
  const auto tokenizer = load_tokenizer(folder / "tokenizer.model");
  const core::Dialogue dialogue{
      {{"user", "who sells bread?"}, {"assistant", "the baker"}, {"user", "the boat?"}, {"assistant", "in the harbour"}}};
  const core::Ids expected = render(ChatFormat::llama2, *tokenizer, dialogue).ids;
  const std::string text = "<s>[INST] who sells bread? [/INST] the baker </s><s>[INST] the boat? [/INST] in the harbour </s>";
  CHECK(rendered_text_ids(*tokenizer, text) == expected);
  // As decoders of Llama 2 write it, with a blank behind BOS.
  CHECK(rendered_text_ids(
            *tokenizer, "<s> [INST] who sells bread? [/INST] the baker </s><s> [INST] the boat? [/INST] in the harbour </s>") == expected);
  CHECK(tokenizer->encode(text) != expected);  // as text of a person it holds no special id
  CHECK(rendered_text_ids(*tokenizer, "").empty());
  CHECK(rendered_text_ids(*tokenizer, "</s>") == core::Ids{*tokenizer->eos()});
  CHECK_THROWS_AS(rendered_text_ids(*tokenizer, "\xff"), std::invalid_argument);
}

TEST_CASE("rendered text: a tokenizer that puts no blank keeps those that are there", "[data]") {
  const test::ByteTokenizer tokenizer({}, false);
  const core::Dialogue dialogue{{{"user", " q "}, {"assistant", "a"}}};
  CHECK(rendered_text_ids(tokenizer, "<|im_start|>user\n q <|im_end|>\n<|im_start|>assistant\na<|im_end|>") ==
        render(ChatFormat::chatml, tokenizer, dialogue).ids);
}

}  // namespace keel::data
