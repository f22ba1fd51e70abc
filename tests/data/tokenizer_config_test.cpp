#include "data/tokenizer_config.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "data/chat_format.h"
#include "data/generation_config.h"
#include "data/sentencepiece_training.h"
#include "data/tokenizer.h"
#include "data/tokenizer_export.h"
#include "support/test_plain.h"

using Catch::Matchers::ContainsSubstring;
using keel::core::DataError;
using keel::core::Ids;
using keel::data::load_tokenizer;
using keel::data::read_tokenizer_config;
using keel::test::TemporaryFolder;
using keel::test::write_text;
using nlohmann::json;

namespace {

// A folder with a SentencePiece model of 330 pieces (ids 0 to 3: <unk>, <s>, </s>, <pad>), or with a tokenizer.json of the letters a and b.
class TokenizerFolder : public TemporaryFolder {
 public:
  explicit TokenizerFolder(bool sentencepiece) {
    if (sentencepiece) {
      keel::data::train_sentencepiece({"The ferry leaves the harbour at 7:45 and comes back at 19:30.\nThe fish market opens at 6.",
                                       "Two boats, three nets and 12 lanterns lie on the quay near the harbour."},
                                      330, *this / "tokenizer.model");
    } else {
      write("tokenizer.json", {{"added_tokens", json::array({token("</s>", 3, true)})},
                               {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
                               {"decoder", {{"type", "ByteLevel"}}},
                               {"model", {{"type", "BPE"}, {"vocab", {{"a", 0}, {"b", 1}, {"ab", 2}}}, {"merges", {"a b"}}}}});
    }
  }
  void write(const std::string& name, const json& content) const { write_text(*this / name, content.dump()); }
  std::string complaint() const {
    try {
      load_tokenizer(path());
      return "";
    } catch (const DataError& error) {
      return error.what();
    }
  }

  static json token(const std::string& text, int64_t id, bool special) {
    return {{"content", text},     {"id", id}, {"special", special}, {"lstrip", false}, {"rstrip", false}, {"normalized", false},
            {"single_word", false}};
  }
};

}  // namespace

TEST_CASE("companions: added_tokens.json alone gives a SentencePiece model its further ids", "[data]") {
  const TokenizerFolder folder(true);
  folder.write("added_tokens.json", {{"<|im_start|>", 330}, {"<|im_end|>", 331}, {"<tool>", 333}});
  folder.write("special_tokens_map.json", {{"eos_token", {{"content", "<|im_end|>"}}}});
  const auto tokenizer = load_tokenizer(folder.path());
  CHECK(tokenizer->vocab_size() == 334);
  CHECK(tokenizer->special("<|im_start|>") == 330);
  CHECK(tokenizer->eos() == 331);
  CHECK(tokenizer->is_special(330));
  CHECK_FALSE(tokenizer->special("<tool>"));
  // A token that is not special is found in text, a special one never is; an id between them has no text.
  const Ids boats = tokenizer->encode("boats");
  CHECK(tokenizer->encode("<tool>boats") == keel::core::joined({333}, boats));
  CHECK(tokenizer->decode({331, 333, 332}) == "<tool>");
  CHECK(tokenizer->decode(tokenizer->encode("the quay<tool> the net")) == "the quay<tool> the net");
  for (const int64_t id : tokenizer->encode("a <|im_start|>user<|im_end|>"))
    CHECK(id < 330);
  CHECK(tokenizer->decode(tokenizer->encode("a <|im_start|>user<|im_end|>")) == "a <|im_start|>user<|im_end|>");
  CHECK_THROWS_AS(tokenizer->decode({334}), std::out_of_range);
}

TEST_CASE("companions: pieces of the model that the config calls special never come from text", "[data]") {
  const TokenizerFolder folder(true);
  const auto plain = load_tokenizer(folder.path());
  REQUIRE(plain->encode("the harbour").size() < 6);
  const int64_t id = plain->encode(" the").back();
  const std::string piece = "\xE2\x96\x81the";
  folder.write("tokenizer_config.json", {{"additional_special_tokens", {piece}}});
  const auto tokenizer = load_tokenizer(folder.path());
  CHECK(tokenizer->special(piece) == id);
  CHECK(tokenizer->decode({id}).empty());
  CHECK_THAT(tokenizer->encode("x" + piece), !Catch::Matchers::Contains(id));
  CHECK(tokenizer->decode(tokenizer->encode("x" + piece)) == plain->decode(plain->encode("x" + piece)));
}

TEST_CASE("companions: added tokens that contradict the vocabulary or each other are refused by name", "[data]") {
  for (const bool sentencepiece : {true, false}) {
    const TokenizerFolder folder(sentencepiece);
    folder.write("added_tokens.json", {{"<x>", 0}});
    CHECK_THAT(folder.complaint(), ContainsSubstring("'<x>' has the id 0"));
    folder.write("added_tokens.json", {{"<x>", -1}});
    CHECK_THAT(folder.complaint(), ContainsSubstring("added_tokens.json: ids must be 0.."));
    folder.write("added_tokens.json", {{"<x>", 400}});
    folder.write("tokenizer_config.json", {{"added_tokens_decoder", {{"401", {{"content", "<x>"}}}}}});
    CHECK_THAT(folder.complaint(), ContainsSubstring("added_tokens.json") && ContainsSubstring("401"));
    folder.write("tokenizer_config.json", {{"added_tokens_decoder", {{"400", {{"content", "<x>"}, {"rstrip", true}}}}}});
    CHECK_THAT(folder.complaint(), ContainsSubstring("'<x>' asks for lstrip, rstrip or single_word"));
    folder.write("tokenizer_config.json", {{"added_tokens_decoder", {{"x", {{"content", "<x>"}}}}}});
    CHECK_THAT(folder.complaint(), ContainsSubstring("got 'x'"));
    folder.write("tokenizer_config.json", {{"added_tokens_decoder", {{"400", {{"content", 7}}}}}});
    CHECK_THAT(folder.complaint(), ContainsSubstring("added_tokens_decoder['400'] has a wrong form"));
  }
}

TEST_CASE("companions: a BOS or EOS that no file has is refused, and does not become the default", "[data]") {
  for (const bool sentencepiece : {true, false}) {
    const TokenizerFolder folder(sentencepiece);
    for (const char* key : {"bos_token", "eos_token"}) {
      folder.write("tokenizer_config.json", {{key, "<|im_end|>"}});
      CHECK_THAT(folder.complaint(), ContainsSubstring("tokenizer_config.json") && ContainsSubstring(key) &&
                                         ContainsSubstring("'<|im_end|>', which is no token"));
    }
    folder.write("tokenizer_config.json", {{"eos_token", ""}, {"bos_token", nullptr}, {"pad_token", "<nowhere>"}});  // a warning at most
    CHECK(load_tokenizer(folder.path())->special("</s>") == load_tokenizer(folder.path())->eos());
    folder.write("tokenizer_config.json", {{"eos_token", "<|im_end|>"}});
    folder.write("added_tokens.json", {{"<|im_end|>", 330}});
    CHECK(load_tokenizer(folder.path())->eos() == 330);
  }
}

TEST_CASE("companions: tokens beside a tokenizer.json are added to its own", "[data]") {
  const TokenizerFolder folder(false);
  folder.write(
      "tokenizer_config.json",
      {{"added_tokens_decoder", {{"3", {{"content", "</s>"}, {"special", true}}}, {"4", {{"content", "<|im_end|>"}, {"special", true}}}}},
       {"eos_token", "<|im_end|>"}});
  const auto tokenizer = load_tokenizer(folder.path());
  CHECK(tokenizer->vocab_size() == 5);
  CHECK(tokenizer->eos() == 4);
  CHECK(tokenizer->special("</s>") == 3);
}

TEST_CASE("companions: two folders have the same ids when their added tokens and blanks are the same", "[data]") {
  const auto rules = [](const char* text) { return keel::data::id_rules(keel::data::parse_tokenizer_config(json::parse(text), "t")); };
  const auto plain = rules(R"({"added_tokens_decoder": {"330": {"content": "<x>"}}})");
  CHECK(plain == rules(R"({"legacy": true, "added_tokens_decoder": {"330": {"content": "<x>", "special": true}}})"));
  CHECK(plain != rules(R"({"added_tokens_decoder": {"330": {"content": "<y>"}}})"));
  CHECK(plain != rules("{}"));
  for (const char* other : {R"({"legacy": false})", R"({"add_bos_token": false})", R"({"bos_token": "<x>"})", R"({"eos_token": "<x>"})"})
    CHECK(rules("{}") != rules(other));
  CHECK(rules("{}") == rules(R"({"add_bos_token": true})"));
}

TEST_CASE("companions: a tag of the chat format that takes blanks is refused where it would be written", "[data]") {
  const TokenizerFolder folder(true);
  folder.write("tokenizer_config.json", {{"added_tokens_decoder",
                                          {{"330", {{"content", "<|im_start|>"}, {"special", true}}},
                                           {"331", {{"content", "<|im_end|>"}, {"special", true}, {"rstrip", true}}}}}});
  const auto tokenizer = load_tokenizer(folder.path());
  CHECK_THROWS_WITH(keel::data::render(keel::data::ChatFormat::chatml, *tokenizer, {{{"user", "hi"}}}),
                    ContainsSubstring("<|im_end|>") && ContainsSubstring("rstrip"));
}

TEST_CASE("companions: all of them go with the vocabulary into another folder", "[data]") {
  const TokenizerFolder folder(true);
  const TemporaryFolder target;
  folder.write("added_tokens.json", {{"<|im_end|>", 330}});
  folder.write("tokenizer_config.json", {{"eos_token", "<|im_end|>"}, {"legacy", false}});
  folder.write("generation_config.json", {{"eos_token_id", {330, 2}}});
  write_text(folder / "chat_template.jinja", "{{ messages }}");
  keel::data::write_tokenizer(folder.path(), target.path());
  for (const char* name : {"added_tokens.json", "generation_config.json", "chat_template.jinja", "tokenizer_config.json"})
    CHECK(keel::test::read_text(target / name) == keel::test::read_text(folder / name));
  CHECK(load_tokenizer(target.path())->stops() == Ids{2});
}

TEST_CASE("companions: a folder with another kind of vocabulary says which, and what to do", "[data]") {
  const TemporaryFolder folder;
  const auto complaint = [&] {
    try {
      load_tokenizer(folder.path());
      return std::string();
    } catch (const keel::core::Error& error) {
      return std::string(error.what());
    }
  };
  write_text(folder / "tokenizer_config.json", "{}");
  CHECK_THAT(complaint(), ContainsSubstring("tokenizer_config.json alone"));
  write_text(folder / "vocab.json", "{}");
  CHECK_THAT(complaint(), ContainsSubstring("vocab.json and merges.txt") && ContainsSubstring("save_pretrained"));
  write_text(folder / "tokenizer.model", "IQ== 0\nIg== 1\n");
  CHECK_THAT(complaint(), ContainsSubstring("tokenizer.model: is a tiktoken vocabulary"));
  write_text(folder / "tokenizer.model", "version https://git-lfs.github.com/spec/v1\n");
  CHECK_THAT(complaint(), ContainsSubstring("tokenizer.model: is a Git LFS pointer"));
}

TEST_CASE("generation config: the ids of eos_token_id end an answer beside the EOS", "[data]") {
  const TokenizerFolder folder(true);
  const auto stops = [&] { return load_tokenizer(folder.path())->stops(); };
  CHECK(stops().empty());
  folder.write("config.json", {{"eos_token_id", 2}});
  CHECK(stops().empty());  // the EOS itself
  folder.write("config.json", {{"eos_token_id", {2, 3}}});
  CHECK(stops() == Ids{3});
  folder.write("config.json", {{"eos_token_id", 40}});  // transformers' default, an ordinary piece
  CHECK(stops().empty());
  folder.write("generation_config.json", {{"eos_token_id", 40}, {"_from_model_config", true}});
  CHECK(stops().empty());
  folder.write("generation_config.json", {{"eos_token_id", {2, 40}}, {"temperature", 0.6}});
  CHECK(stops() == Ids{40});
  const auto tokenizer = load_tokenizer(folder.path());
  CHECK(keel::data::stop_ids(keel::data::ChatFormat::llama2, *tokenizer) == Ids{2, 40});
  const Ids word = tokenizer->encode("boats");
  CHECK(keel::data::answer_text(keel::data::ChatFormat::llama2, *tokenizer, keel::core::joined(word, {40})) == "boats");
  CHECK(keel::data::continuation_text(*tokenizer, word, {40}).empty());
  folder.write("generation_config.json", {{"eos_token_id", 330}});
  CHECK_THAT(folder.complaint(), ContainsSubstring("generation_config.json: eos_token_id 330 is no id of the tokenizer"));
  for (const json& wrong : {json("2"), json({2, "3"}), json(-1), json(2.5)}) {
    folder.write("generation_config.json", {{"eos_token_id", wrong}});
    CHECK_THAT(folder.complaint(), ContainsSubstring("eos_token_id must be an id or a list of ids"));
  }
  write_text(folder / "generation_config.json", "[]");
  CHECK_THAT(folder.complaint(), ContainsSubstring("must be a JSON object"));
}

// tools/oracle/sentencepiece_companions.py
TEST_CASE("companions: legacy and add_prefix_space give transformers' ids", "[data]") {
  const auto model = keel::test::read_text(keel::test::shared_data() / "tinyllama/stories260K/tok512.model");
  const auto loaded = [&](bool legacy, bool prefix) {
    const TemporaryFolder folder;
    write_text(folder / "tokenizer.model", model);
    write_text(folder / "added_tokens.json", R"({"<|im_start|>": 512, "<|im_end|>": 513, "<tool>": 514})");
    write_text(folder / "tokenizer_config.json",
               json{{"legacy", legacy}, {"add_prefix_space", prefix}, {"eos_token", "<|im_end|>"}, {"add_bos_token", false}}.dump());
    return load_tokenizer(folder.path());
  };
  const keel::core::Dialogue dialogue = {{{"user", "Once"}}};
  const auto chatml = [&](const auto& tokenizer) { return keel::data::render(keel::data::ChatFormat::chatml, *tokenizer, dialogue).ids; };
  const auto old = loaded(true, true), modern = loaded(false, true), bare = loaded(false, false), old_bare = loaded(true, false);
  CHECK(old->encode("Once") == Ids{403});
  CHECK(old->encode(" Once") == Ids{403});
  CHECK(old->encode("  Once") == Ids{410, 403});
  CHECK(old->encode("a<tool>b") == Ids{261, 514, 268});
  CHECK(old->encode_behind_special("user\nOnce") == Ids{318, 419, 285, 13, 441, 416, 331});
  CHECK(modern->encode("Once") == Ids{403});
  CHECK(modern->encode(" Once") == Ids{403});
  CHECK(modern->encode("  Once") == Ids{410, 403});
  CHECK(modern->encode("a<tool>b") == Ids{261, 514, 430});
  CHECK(modern->encode_behind_special("user\nOnce") == Ids{425, 419, 285, 13, 441, 416, 331});
  CHECK(modern->encode_behind_special(" Once") == Ids{403});
  CHECK(modern->decode({403, 514, 403}) == "Once<tool> Once");
  for (const auto* tokenizer : {&bare, &old_bare}) {
    CHECK((*tokenizer)->encode("Once") == Ids{441, 416, 331});
    CHECK((*tokenizer)->encode(" Once") == Ids{403});
    CHECK((*tokenizer)->encode("a<tool>b") == Ids{412, 514, 430});
    CHECK((*tokenizer)->decode({403}) == " Once");
  }
  CHECK(chatml(old) == Ids{512, 318, 419, 285, 13, 441, 416, 331, 513, 410, 13, 512, 261, 419, 419, 293, 413, 303, 413, 13});
  CHECK(chatml(modern) == Ids{512, 425, 419, 285, 13, 441, 416, 331, 513, 13, 512, 412, 419, 419, 293, 413, 303, 413, 13});
  const Ids tagged = {508, 442, 458, 437, 434, 509, 320, 417, 410, 508, 492, 442, 458, 437, 434, 509};  // "[INST] Hi [/INST]" behind <s>
  CHECK(modern->encode_behind_special("[INST] Hi [/INST]") == tagged);
  CHECK(old->encode_behind_special("[INST] Hi [/INST]") == keel::core::joined({410}, tagged));
}
