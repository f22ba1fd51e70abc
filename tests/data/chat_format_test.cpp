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

// All built-in formats that ByteTokenizer can write: it has no <|start_header_id|>.
std::vector<ChatFormat> formats() {
  return {ChatFormat::llama2, ChatFormat::chatml, ChatFormat::zephyr, ChatFormat::vicuna, ChatFormat::alpaca, ChatFormat::hh};
}

Dialogue without_last(Dialogue dialogue) {
  dialogue.messages.pop_back();
  return dialogue;
}

Ids slice(const Ids& ids, size_t begin, size_t end) {
  return {ids.begin() + static_cast<long>(begin), ids.begin() + static_cast<long>(end)};
}

// ByteTokenizer with the tags of Llama 3.
class Llama3Tokenizer : public ByteTokenizer {
 public:
  static constexpr int64_t kTurnEnd = kFirstMerge;
  Llama3Tokenizer() : ByteTokenizer({"<eot>"}, false) {}
  std::optional<int64_t> special(std::string_view text) const override {
    if (text == "<|start_header_id|>") return kMessageStart;
    if (text == "<|end_header_id|>") return kMessageEnd;
    if (text == "<|eot_id|>") return kTurnEnd;
    return std::nullopt;
  }
  std::vector<std::string> special_texts() const override { return {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"}; }
  bool is_special(int64_t id) const override { return id >= kBos; }
};

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

TEST_CASE("chatml: a tokenizer that merges the prompt's last line break with the answer's blank encodes both as one text", "[data]") {
  const ByteTokenizer merging({"\n "}, false);  // "assistant\n yo" becomes "assistant", "\n ", "yo", as in transformers
  CHECK(merging.show(render(ChatFormat::chatml, merging, {{{"user", "hi"}, {"assistant", " yo"}}})) ==
        "<start>user\nhi<end>\n<start>assistant{\n yo<end>}");
}

TEST_CASE("a prompt's ids are a prefix of the finished dialogue's in every format", "[data]") {
  const ByteTokenizer bytes({"o\n\nH", "\n\n", " y"});
  const Dialogue dialogue = {{{"user", "hi"}, {"assistant", "yo"}, {"user", "so"}, {"assistant", "yes"}}};
  for (const ChatFormat& format : formats()) {
    INFO(format.name);
    const auto finished = render(format, bytes, dialogue);
    const auto prompt = render(format, bytes, without_last(dialogue));
    REQUIRE(prompt.ids.size() < finished.ids.size());
    CHECK(slice(finished.ids, 0, prompt.ids.size()) == prompt.ids);
    CHECK(finished.loss_mask[prompt.ids.size()]);
    CHECK_FALSE(finished.loss_mask[prompt.ids.size() - 1]);
  }
}

TEST_CASE("zephyr: each turn under its tag, closed by EOS, no BOS", "[data]") {
  const ByteTokenizer bytes;
  CHECK(bytes.show(render(ChatFormat::zephyr, bytes, kTwoTurns)) ==
        "<|system|>\nBe brief.</s>\n<|user|>\n hi </s>\n<|assistant|>\n{ yo\n</s>}\n<|user|>\nbye</s>\n<|assistant|>\n{ciao</s>}");
  CHECK(bytes.show(render(ChatFormat::zephyr, bytes, {{{"user", "hi"}}})) == "<|user|>\nhi</s>\n<|assistant|>\n");
}

TEST_CASE("vicuna: one line of USER: and ASSISTANT:, behind its default system turn", "[data]") {
  const ByteTokenizer bytes;
  CHECK(bytes.show(render(ChatFormat::vicuna, bytes, kTwoTurns)) ==
        "<s>Be brief. USER: hi ASSISTANT:{ yo</s>}USER: bye ASSISTANT:{ ciao</s>}");
  CHECK(bytes.show(render(ChatFormat::vicuna, bytes, {{{"user", "hi"}}})) ==
        "<s>" + ChatFormat::vicuna.default_system + " USER: hi ASSISTANT:");
}

TEST_CASE("alpaca: instruction and response under their headings", "[data]") {
  const ByteTokenizer bytes;
  CHECK(bytes.show(render(ChatFormat::alpaca, bytes, kTwoTurns)) ==
        "<s>Be brief.\n\n### Instruction:\n hi \n\n### Response:\n{ yo\n</s>}\n\n### Instruction:\nbye\n\n### Response:\n{ciao</s>}");
}

TEST_CASE("llama3: the tags of its turns are special tokens, contents without blanks around them", "[data]") {
  const Llama3Tokenizer tokenizer;
  CHECK(tokenizer.show(render(ChatFormat::llama3, tokenizer, kTwoTurns)) ==
        "<s><start>system<end>\n\nBe brief.<eot><start>user<end>\n\nhi<eot><start>assistant<end>\n\n{yo<eot>}<start>user<end>\n\nbye<eot>"
        "<start>assistant<end>\n\n{ciao<eot>}");
  CHECK(keel::data::stop_ids(ChatFormat::llama3, tokenizer) == Ids{Llama3Tokenizer::kTurnEnd, ByteTokenizer::kEos});
  CHECK_THROWS_WITH(render(ChatFormat::llama3, ByteTokenizer(), kTwoTurns), Catch::Matchers::ContainsSubstring("<|start_header_id|>"));
}

TEST_CASE("a format of one's own is read from a file, recorded in keel.json and read there again", "[data]") {
  const keel::test::TemporaryFolder folder;
  const auto file = folder / "radio.json";
  keel::test::write_text(file, R"({
    // a comment
    "bos": "never", "system_place": "first_user", "system": {"prefix": "(", "suffix": ") "},
    "user": {"prefix": "Q: ", "suffix": " "}, "assistant": {"prefix": "A: ", "suffix": " over{eos} "}, "generation_prompt": "A:"})");
  const ChatFormat format = keel::data::parse_chat_format(file.string());
  CHECK(format.name == "radio");
  const ByteTokenizer bytes;
  CHECK(bytes.show(render(format, bytes, kTwoTurns)) == "Q: (Be brief.)  hi  A:{  yo\n over</s>} Q: bye A:{ ciao over</s>}");
  CHECK_THROWS_WITH(render(format, bytes, {{{"user", "what is Q: here"}}}), Catch::Matchers::ContainsSubstring("\"Q:\""));

  const auto recorded = keel::data::keel_json_of(format);
  CHECK(recorded["chat_format"] == "radio");
  CHECK(keel::data::format_of_keel_json(recorded, "keel.json") == format);
  for (const std::string& name : keel::data::chat_format_names()) {
    const ChatFormat known = keel::data::parse_chat_format(name);
    CHECK(keel::data::keel_json_of(known) == nlohmann::json{{"chat_format", name}});
    CHECK(keel::data::format_of_keel_json({{"chat_format", name}}, "keel.json") == known);
  }
}

TEST_CASE("a declaration that cannot be used is refused by name", "[data]") {
  const keel::test::TemporaryFolder folder;
  const auto problem = [&](const std::string& text) {
    keel::test::write_text(folder / "own.json", text);
    try {
      keel::data::parse_chat_format((folder / "own.json").string());
    } catch (const std::exception& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  const std::string turns = R"("user": {"prefix": "Q: "}, "assistant": {"prefix": "A: ", "suffix": "{eos}"})";
  CHECK(problem("{" + turns + "}").empty());
  CHECK_THAT(problem("{" + turns + R"(, "prefx": ""})"), Catch::Matchers::ContainsSubstring("prefx"));
  CHECK_THAT(problem("{" + turns + R"(, "name": "chatml"})"), Catch::Matchers::ContainsSubstring("built-in"));
  CHECK_THAT(problem("{" + turns + R"(, "generation_prompt": "B:"})"), Catch::Matchers::ContainsSubstring("generation_prompt"));
  CHECK_THAT(problem(R"({"name": "x"})"), Catch::Matchers::ContainsSubstring("must differ"));

  const ByteTokenizer bytes;
  ChatFormat endless = ChatFormat::zephyr;
  endless.assistant.suffix = "\n";
  CHECK_THROWS_WITH(keel::data::check_renderable(endless, bytes), Catch::Matchers::ContainsSubstring("no end"));
  for (const ChatFormat& format : formats())
    CHECK_NOTHROW(keel::data::check_renderable(format, bytes));
}

TEST_CASE("an unanswered prompt has nothing to learn, an empty answer only its end", "[data]") {
  const ByteTokenizer bytes;
  for (const ChatFormat& format : formats()) {
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
  for (const ChatFormat& format : formats()) {
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
    CHECK(keel::data::parse_chat_format(name).name == name);
  CHECK_THROWS_AS(keel::data::parse_chat_format("Vicuna"), UsageError);
  CHECK_THROWS_WITH(keel::data::parse_chat_format("Llama2"), Catch::Matchers::ContainsSubstring("none, llama2, llama3, chatml"));
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

TEST_CASE("a rendered dialogue is told from a text by how it begins", "[data]") {
  const auto begins = keel::data::begins_rendered;
  CHECK(begins(ChatFormat::llama2, "[INST] hi [/INST]"));
  CHECK(begins(ChatFormat::chatml, "<|im_start|>system\nBe brief.<|im_end|>"));
  CHECK(begins(ChatFormat::hh, "\n\nHuman: hi"));
  CHECK(begins(ChatFormat::zephyr, "<|user|>\nhi"));
  CHECK(begins(ChatFormat::vicuna, ChatFormat::vicuna.default_system + " USER: hi"));
  CHECK_FALSE(begins(ChatFormat::hh, "Human: hi"));
  CHECK_FALSE(begins(ChatFormat::llama2, "what is [INST]?"));
  CHECK_FALSE(begins(ChatFormat::none, ""));
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
