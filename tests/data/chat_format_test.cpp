#include "data/chat_format.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "data/messages.h"
#include "support/byte_tokenizer.h"
#include "support/test_plain.h"

using keel::core::Dialogue;
using keel::core::Ids;
using keel::core::UsageError;
using keel::data::answer_text;
using keel::data::ChatFormat;
using keel::data::render;
using keel::data::TagPolicy;
using keel::test::BareTokenizer;
using keel::test::ByteTokenizer;

namespace {

const Dialogue kTwoTurns = {{{"system", "Be brief."}, {"user", " hi "}, {"assistant", " yo\n"}, {"user", "bye"}, {"assistant", "ciao"}}};

Dialogue without_last(Dialogue dialogue) {
  dialogue.messages.pop_back();
  return dialogue;
}

Ids slice(const Ids& ids, size_t begin, size_t end) {
  return {ids.begin() + static_cast<long>(begin), ids.begin() + static_cast<long>(end)};
}

}  // namespace

TEST_CASE("llama2 (pitfall 9): every exchange has its BOS and EOS, the system turn stands in the first user turn, answers are learned",
          "[data]") {
  const ByteTokenizer bytes;
  CHECK(bytes.show(render(ChatFormat::llama2, bytes, kTwoTurns)) ==
        "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\n hi [/INST]{ yo </s>}<s>[INST] bye [/INST]{ ciao </s>}");
  CHECK(bytes.show(render(ChatFormat::llama2, bytes, without_last(kTwoTurns))) ==
        "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\n hi [/INST]{ yo </s>}<s>[INST] bye [/INST]");
}

TEST_CASE("llama2: a tokenizer that merges across [/INST] and the blank loses no answer token from the loss", "[data]") {
  const ByteTokenizer merging({"] "});  // "[/INST] yo" becomes "[/INST", "] ", "yo"
  const auto sequence = render(ChatFormat::llama2, merging, {{{"user", "hi"}, {"assistant", "yo"}}});
  CHECK(merging.show(sequence) == "<s>[INST] hi [/INST{] yo </s>}");
}

TEST_CASE("llama2: blanks are those of Python's str.strip, Unicode ones included", "[data]") {
  const ByteTokenizer bytes;
  const auto sequence = render(ChatFormat::llama2, bytes, {{{"user", "\xc2\xa0\xe3\x80\x80hi\xe2\x80\xa8\x1c\r\n"}}});
  CHECK(bytes.show(sequence) == "<s>[INST] hi [/INST]");
}

TEST_CASE("chatml: content is kept as it is, the answer ends at <|im_end|>, a prompt ends where the answer starts", "[data]") {
  const ByteTokenizer bytes({}, false);
  const std::string start =
      "<start>system\nBe brief.<end>\n<start>user\n hi <end>\n<start>assistant\n{ yo\n<end>}\n<start>user\nbye<end>\n";
  CHECK(bytes.show(render(ChatFormat::chatml, bytes, kTwoTurns)) == start + "<start>assistant\n{ciao<end>}");
  CHECK(bytes.show(render(ChatFormat::chatml, bytes, without_last(kTwoTurns))) == start + "<start>assistant\n");
}

TEST_CASE("chatml: a BOS comes once, and only when the tokenizer's files ask for it", "[data]") {
  const ByteTokenizer bytes({}, true);
  CHECK(bytes.show(render(ChatFormat::chatml, bytes, {{{"user", "hi"}}})) == "<s><start>user\nhi<end>\n<start>assistant\n");
}

TEST_CASE("hh: one text of Human and Assistant turns, EOS after the last answer alone", "[data]") {
  const ByteTokenizer bytes;
  const Dialogue dialogue = {{{"user", "hi"}, {"assistant", "yo"}, {"user", " bye"}, {"assistant", "ciao "}}};
  CHECK(bytes.show(render(ChatFormat::hh, bytes, dialogue)) ==
        "<s>\n\nHuman: hi\n\nAssistant:{ yo}\n\nHuman: bye\n\nAssistant:{ ciao</s>}");
  const ByteTokenizer no_bos({}, false);
  CHECK(no_bos.show(render(ChatFormat::hh, no_bos, without_last(dialogue))) ==
        "\n\nHuman: hi\n\nAssistant:{ yo}\n\nHuman: bye\n\nAssistant:");
}

TEST_CASE("hh and chatml: a prompt's ids are a prefix of the finished dialogue's, whatever the tokenizer merges", "[data]") {
  const ByteTokenizer merging({": ", "\ny", "o\n\nH", "assistant\n", "\n\n", " y"});
  const Dialogue dialogue = {{{"user", "hi"}, {"assistant", "yo"}, {"user", "so"}, {"assistant", "yes"}}};
  for (const ChatFormat format : {ChatFormat::hh, ChatFormat::chatml}) {
    const auto finished = render(format, merging, dialogue);
    const auto prompt = render(format, merging, without_last(dialogue));
    REQUIRE(prompt.ids.size() < finished.ids.size());
    CHECK(slice(finished.ids, 0, prompt.ids.size()) == prompt.ids);
    CHECK(finished.loss_mask[prompt.ids.size()]);
    CHECK_FALSE(finished.loss_mask[prompt.ids.size() - 1]);
  }
}

TEST_CASE("an unanswered prompt has nothing to learn, an empty answer only its end", "[data]") {
  const ByteTokenizer bytes;
  for (const ChatFormat format : {ChatFormat::llama2, ChatFormat::chatml, ChatFormat::hh}) {
    const auto prompt = render(format, bytes, {{{"user", "hi"}}});
    CHECK(std::count(prompt.loss_mask.begin(), prompt.loss_mask.end(), true) == 0);
  }
  CHECK(bytes.show(render(ChatFormat::chatml, bytes, {{{"user", "hi"}, {"assistant", ""}}})).ends_with("assistant\n{<end>}"));
}

TEST_CASE("tags in any turn are refused by name, or kept as plain text that holds no special id", "[data]") {
  struct Case {
    ChatFormat format;
    std::string tag, shown;
  };
  const auto [format, tag, shown] =
      GENERATE(Case{ChatFormat::llama2, "[INST]", "[INST]"}, Case{ChatFormat::llama2, "[/INST]", "[/INST]"},
               Case{ChatFormat::llama2, "<<SYS>>", "<<SYS>>"}, Case{ChatFormat::llama2, "<</SYS>>", "<</SYS>>"},
               Case{ChatFormat::chatml, "<|im_start|>", "<|im_start|>"}, Case{ChatFormat::chatml, "<|im_end|>", "<|im_end|>"},
               Case{ChatFormat::hh, "\n\nHuman:", "\\n\\nHuman:"}, Case{ChatFormat::hh, "\n\nAssistant:", "\\n\\nAssistant:"});
  const ByteTokenizer bytes({}, false);
  const size_t turn = GENERATE(size_t{0}, size_t{1});
  Dialogue dialogue = {{{"user", "a"}, {"assistant", "b"}}};
  dialogue.messages[turn].content = "x " + tag + " y";
  CHECK_THROWS_WITH(render(format, bytes, dialogue), Catch::Matchers::ContainsSubstring("\"" + shown + "\"") &&
                                                         Catch::Matchers::ContainsSubstring(dialogue.messages[turn].role));

  const auto kept = render(format, bytes, dialogue, TagPolicy::allow);
  CHECK(bytes.decode(kept.ids).find(dialogue.messages[turn].content) != std::string::npos);
  const auto starts = std::count(kept.ids.begin(), kept.ids.end(), ByteTokenizer::kMessageStart);
  CHECK(starts == (format == ChatFormat::chatml ? 2 : 0));
}

TEST_CASE("tags of another format are plain text", "[data]") {
  const ByteTokenizer bytes;
  CHECK_NOTHROW(render(ChatFormat::chatml, bytes, {{{"user", "what is [INST]?"}}}));
  CHECK_NOTHROW(render(ChatFormat::llama2, bytes, {{{"user", "what is <|im_end|>?"}}}));
  CHECK_NOTHROW(render(ChatFormat::hh, bytes, {{{"user", "Human: is no tag within a line"}}}));
}

TEST_CASE("roles out of turn are refused in every format", "[data]") {
  const ByteTokenizer bytes;
  const Dialogue wrong =
      GENERATE(Dialogue{}, Dialogue{{{"system", "s"}}}, Dialogue{{{"assistant", "a"}}}, Dialogue{{{"user", "a"}, {"user", "b"}}},
               Dialogue{{{"user", "a"}, {"system", "b"}}}, Dialogue{{{"system", "a"}, {"system", "b"}, {"user", "c"}}},
               Dialogue{{{"user", "a"}, {"assistant", "b"}, {"assistant", "c"}}}, Dialogue{{{"tool", "a"}}});
  for (const ChatFormat format : {ChatFormat::llama2, ChatFormat::chatml, ChatFormat::hh}) {
    CHECK_THROWS_AS(render(format, bytes, wrong), std::invalid_argument);
  }
}

TEST_CASE("a format that cannot be rendered says what to do", "[data]") {
  const ByteTokenizer bytes;
  const BareTokenizer bare;
  const Dialogue hello = {{{"user", "hi"}, {"assistant", "yo"}}};
  CHECK_THROWS_AS(render(ChatFormat::none, bytes, hello), UsageError);
  CHECK_THROWS_WITH(render(ChatFormat::hh, bytes, kTwoTurns), Catch::Matchers::ContainsSubstring("no system turn"));
  CHECK_THROWS_WITH(render(ChatFormat::chatml, bare, hello), Catch::Matchers::ContainsSubstring("<|im_start|>"));
  CHECK_THROWS_AS(render(ChatFormat::llama2, bare, hello), UsageError);
  CHECK_THROWS_AS(render(ChatFormat::hh, bare, hello), UsageError);
}

TEST_CASE("chat formats are known by name, and an unknown one names them", "[data]") {
  for (const std::string& name : keel::data::chat_format_names())
    CHECK(to_string(keel::data::parse_chat_format(name)) == name);
  CHECK_THROWS_AS(keel::data::parse_chat_format("vicuna"), UsageError);
  CHECK_THROWS_WITH(keel::data::parse_chat_format("Llama2"), Catch::Matchers::ContainsSubstring("none, llama2, chatml, hh"));
}

TEST_CASE("raw text carries the BOS that the tokenizer asks for, and an EOS when a document ends", "[data]") {
  const ByteTokenizer bytes, no_bos({}, false);
  CHECK(bytes.show(keel::data::render_text(bytes, "[INST]")) == "<s>{[INST]}");
  CHECK(bytes.show(keel::data::render_text(bytes, "hi", false)) == "{hi}");
  CHECK(no_bos.show(keel::data::render_text(no_bos, "hi", true, true)) == "{hi</s>}");
}

TEST_CASE("an answer that is not learned is context, with its end, in every format", "[data]") {
  const ByteTokenizer bytes({"<|im_start|>", "<|im_end|>"}, false), with_bos;
  const keel::core::Dialogue dialogue = {
      {{"user", "a"}, {"assistant", "b", false}, {"user", "c"}, {"assistant", "d"}, {"user", "e"}, {"assistant", "", false}}};
  CHECK(with_bos.show(render(ChatFormat::llama2, with_bos, dialogue)) ==
        "<s>[INST] a [/INST] b </s><s>[INST] c [/INST]{ d </s>}<s>[INST] e [/INST]  </s>");
  CHECK(with_bos.show(render(ChatFormat::hh, with_bos, dialogue)) ==
        "<s>\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:{ d}\n\nHuman: e\n\nAssistant: </s>");
  const keel::core::Dialogue last = {{{"user", "a"}, {"assistant", "b", false}, {"user", "c"}, {"assistant", "d"}}};
  CHECK(bytes.show(render(ChatFormat::chatml, bytes, last)) ==
        "<start>user\na<end>\n<start>assistant\nb<end>\n<start>user\nc<end>\n<start>assistant\n{d<end>}");
}

TEST_CASE("generation stops at the format's end and at EOS, and the answer's text holds neither", "[data]") {
  const ByteTokenizer bytes;
  const BareTokenizer bare;
  CHECK(keel::data::stop_ids(ChatFormat::chatml, bytes) == Ids{ByteTokenizer::kMessageEnd, ByteTokenizer::kEos});
  CHECK(keel::data::stop_ids(ChatFormat::hh, bytes) == Ids{ByteTokenizer::kEos});
  CHECK_THROWS_AS(keel::data::stop_ids(ChatFormat::none, bare), UsageError);
  const Ids answer = {' ', 'y', 'o', ' ', ByteTokenizer::kEos};
  CHECK(answer_text(ChatFormat::llama2, bytes, answer) == "yo");
  CHECK(answer_text(ChatFormat::none, bytes, answer) == " yo ");
}

TEST_CASE("llama2: the reference's dialogues have the reference's ids", "[data]") {
  const auto folder = keel::test::shared_data() / "tokenizer";
  const auto tokenizer = keel::data::load_tokenizer(folder / "tokenizer.model");
  const auto golden = nlohmann::json::parse(keel::test::read_text(folder / "llama2_chat_prompt_vectors.json"));
  REQUIRE(golden["vectors"].size() == 5);
  for (const auto& vector : golden["vectors"]) {
    const Dialogue dialogue = keel::data::parse_messages(vector["dialog"], "dialog");
    if (vector["unsafe_special_tag"].get<bool>()) {
      CHECK_THROWS_AS(render(ChatFormat::llama2, *tokenizer, dialogue), std::invalid_argument);
      continue;
    }
    const auto sequence = render(ChatFormat::llama2, *tokenizer, dialogue);
    CHECK(sequence.ids == vector["ids"].get<Ids>());
    // The loss covers the finished answers: decoded targets give the assistant turns.
    Ids learned;
    std::string answers;
    for (size_t i = 0; i < sequence.ids.size(); ++i) {
      if (sequence.loss_mask[i]) learned.push_back(sequence.ids[i]);
    }
    for (const auto& message : dialogue.messages)
      answers += message.role == "assistant" ? message.content : "";
    CHECK(answer_text(ChatFormat::llama2, *tokenizer, learned) == answers);
    if (!learned.empty()) CHECK(slice(learned, learned.size() - 2, learned.size()) == Ids{29871, 2});  // the blank before EOS, and EOS
  }
}

TEST_CASE("chat format: ids that only round a model's vocabulary up have no text", "[data]") {
  const ByteTokenizer bytes;
  const keel::core::Ids ids = {bytes.encode("a")[0], bytes.vocab_size(), bytes.encode("b")[0], bytes.vocab_size() + 7};
  CHECK(keel::data::answer_text(ChatFormat::none, bytes, ids) == "ab");
  CHECK(keel::data::continuation_text(bytes, bytes.encode("x"), ids) == "ab");
}
