#include "data/tokenizer_json.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json.h"
#include "data/chat_format.h"
#include "data/tokenizer_export.h"
#include "support/test_plain.h"

using Catch::Matchers::ContainsSubstring;
using keel::core::DataError;
using keel::core::Ids;
using keel::data::load_tokenizer;
using keel::data::tokenizer_from_json;
using keel::test::TemporaryFolder;
using keel::test::write_text;
using nlohmann::json;

namespace {

const json& tokenizer_goldens() {
  static const json goldens = keel::core::read_json_file(std::filesystem::path(KEEL_SOURCE_DIR) / "tests/data/tokenizer_golden.json");
  return goldens;
}

json golden_document(const std::string& name) {
  for (const json& golden : tokenizer_goldens()) {
    if (golden["name"] == name) return golden["tokenizer"];
  }
  throw std::logic_error("no golden tokenizer " + name);
}

std::string complaint_about(const json& document) {
  try {
    tokenizer_from_json(document, {}, "t/tokenizer.json");
    return "";
  } catch (const DataError& error) {
    CHECK_THAT(error.what(), ContainsSubstring("t/tokenizer.json"));
    return error.what();
  }
}

// Calls `change` with every place of the document in turn; lists of one kind are visited only at their first items.
void for_each_place(json& node, const std::function<void(json&)>& change) {
  change(node);
  size_t visited = 0;
  if (!node.is_structured()) return;
  for (auto& inner : node) {
    if (++visited > 12) return;
    for_each_place(inner, change);
  }
}

}  // namespace

TEST_CASE("tokenizer.json: ids and texts of five designs are those of Hugging Face tokenizers", "[data]") {
  // tools/oracle/tokenizer_golden.py; special tokens typed as text are spelled out of ordinary pieces.
  for (const json& golden : tokenizer_goldens()) {
    const auto tokenizer = tokenizer_from_json(golden["tokenizer"], {}, "golden");
    for (const json& item : golden["texts"]) {
      const auto text = item["text"].get<std::string>();
      INFO(golden["name"] << ": " << item["text"].dump());
      CHECK(tokenizer->encode(text) == item["ids"].get<Ids>());
      CHECK(tokenizer->decode(item["ids"].get<Ids>()) == item["decoded"].get<std::string>());
    }
  }
}

TEST_CASE("tokenizer.json: byte-level designs give every text back", "[data]") {
  for (const char* name : {"gpt2", "smollm", "llama3"}) {
    const auto tokenizer = tokenizer_from_json(golden_document(name), {}, name);
    for (const json& item : tokenizer_goldens()[0]["texts"]) {
      const auto text = item["text"].get<std::string>();
      CHECK(tokenizer->decode(tokenizer->encode(text)) == text);
    }
  }
}

TEST_CASE("tokenizer.json: what goes on from a prompt keeps the blank between them, in every design", "[data]") {
  for (const json& golden : tokenizer_goldens()) {
    INFO(golden["name"]);
    const auto tokenizer = tokenizer_from_json(golden["tokenizer"], {}, "golden");
    const std::string text = "the cat sat on the mat";
    Ids all = tokenizer->encode(text);
    all.push_back(*tokenizer->eos());
    for (size_t cut = 0; cut <= all.size(); ++cut) {
      const auto middle = all.begin() + static_cast<std::ptrdiff_t>(cut);
      const Ids prompt(all.begin(), middle), rest(middle, all.end());
      CHECK(tokenizer->decode(prompt) + keel::data::continuation_text(*tokenizer, prompt, rest) == text);
    }
  }
}

TEST_CASE("tokenizer.json: written into a folder it keeps what stands beside it", "[data]") {
  const TemporaryFolder source, target;
  write_text(source / "other.json", golden_document("gpt2").dump());
  write_text(source / "tokenizer_config.json", R"({"add_bos_token": true})");
  write_text(source / "special_tokens_map.json", R"({"eos_token": "<s>"})");
  keel::data::write_tokenizer(source / "other.json", target.path());
  const auto written = load_tokenizer(target.path());
  CHECK(written->adds_bos());
  CHECK(written->eos() == written->special("<s>"));
}

TEST_CASE("tokenizer.json: no text becomes a special id, and special ids give no text", "[data]") {
  for (const json& golden : tokenizer_goldens()) {
    const auto tokenizer = tokenizer_from_json(golden["tokenizer"], {}, "golden");
    const auto start = tokenizer->special("<s>"), end = tokenizer->special("</s>");
    REQUIRE(start);
    REQUIRE(end);
    CHECK_FALSE(tokenizer->special("<tool>"));
    for (const char* text : {"<s>", "</s>", "a<s>b</s>", " </s> <s>"}) {
      const Ids ids = tokenizer->encode(text);
      CHECK(std::count(ids.begin(), ids.end(), *start) + std::count(ids.begin(), ids.end(), *end) == 0);
    }
    Ids ids = tokenizer->encode("the cat");
    const std::string plain = tokenizer->decode(ids);
    ids.insert(ids.begin(), *start);
    ids.insert(ids.begin() + 2, *end);
    CHECK(tokenizer->decode(ids) == plain);
  }
}

TEST_CASE("tokenizer.json: not even merges or whole words lead to a special id", "[data]") {
  json document = golden_document("llama3");
  document["added_tokens"].push_back({{"id", document["model"]["vocab"]["the"]}, {"content", "the"}, {"special", true}});
  const auto tokenizer = tokenizer_from_json(document, {}, "t");
  CHECK(tokenizer->special("the"));
  const Ids ids = tokenizer->encode("the");
  CHECK(std::find(ids.begin(), ids.end(), *tokenizer->special("the")) == ids.end());
  CHECK(ids.size() >= 2);
}

TEST_CASE("tokenizer.json: template, config and special tokens decide BOS, EOS and pad", "[data]") {
  const auto bare = tokenizer_from_json(golden_document("gpt2"), {}, "t");
  CHECK(bare->bos() == 0);
  CHECK(bare->eos() == 1);
  CHECK_FALSE(bare->adds_bos());
  const auto templated = tokenizer_from_json(golden_document("llama3"), {}, "t");
  CHECK(templated->adds_bos());
  const auto silenced = tokenizer_from_json(golden_document("llama3"), {.add_bos = false, .eos = "<s>", .pad = "the"}, "t");
  CHECK_FALSE(silenced->adds_bos());
  CHECK(silenced->eos() == silenced->special("<s>"));
  CHECK(silenced->pad() == silenced->special("the"));  // what the config names is special, whatever tokenizer.json says
  CHECK(tokenizer_from_json(golden_document("gpt2"), {.add_bos = true}, "t")->adds_bos());
}

TEST_CASE("tokenizer.json: raw text begins with the token of the post_processor, a template's bos_token is the config's", "[data]") {
  json document = golden_document("llama3");
  const int64_t the = document["model"]["vocab"]["the"];
  document["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single", {{{"SpecialToken", {{"id", "the"}, {"type_id", 0}}}}, {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
      {"special_tokens", {{"the", {{"id", "the"}, {"ids", {the}}, {"tokens", {"the"}}}}}}};
  const auto tokenizer = tokenizer_from_json(document, {.bos = "<s>"}, "t");
  CHECK(tokenizer->bos() == tokenizer->special("<s>"));
  CHECK(tokenizer->start() == the);
  CHECK(keel::data::render_text(*tokenizer, "cats").ids.front() == the);
  document["post_processor"]["special_tokens"]["the"]["ids"] = {the, the};
  CHECK_THROWS_AS(tokenizer_from_json(document, {}, "t"), DataError);
}

TEST_CASE("tokenizer.json: a folder is read with its tokenizer_config.json and special_tokens_map.json", "[data]") {
  const TemporaryFolder folder;
  CHECK_THROWS_AS(load_tokenizer(folder.path()), keel::core::UsageError);
  CHECK_THROWS_AS(load_tokenizer(folder / "gone.model"), keel::core::UsageError);
  write_text(folder / "tokenizer.json", golden_document("gpt2").dump());
  CHECK(load_tokenizer(folder.path())->eos() == 1);
  write_text(folder / "special_tokens_map.json", R"({"eos_token": {"content": "<s>", "lstrip": false}, "bos_token": "</s>"})");
  CHECK(load_tokenizer(folder.path())->eos() == 0);
  write_text(folder / "tokenizer_config.json", R"({"eos_token": "</s>", "add_bos_token": true, "pad_token": null})");
  const auto tokenizer = load_tokenizer(folder / "tokenizer.json");
  CHECK(tokenizer->eos() == 1);
  CHECK(tokenizer->bos() == 1);
  CHECK(tokenizer->adds_bos());
  for (const char* broken : {R"({"eos_token": 3})", R"({"add_bos_token": "yes"})", R"({"bos_token": {}})", "[]", "{"}) {
    write_text(folder / "tokenizer_config.json", broken);
    CHECK_THROWS_AS(load_tokenizer(folder.path()), DataError);
  }
}

TEST_CASE("tokenizer.json: what is written into another folder gives the same ids", "[data]") {
  const TemporaryFolder source, target;
  write_text(source / "tokenizer.json", golden_document("llama2").dump());
  write_text(source / "tokenizer_config.json", R"({"add_bos_token": false, "eos_token": "</s>"})");
  keel::data::write_tokenizer(source.path(), target.path());
  const auto before = load_tokenizer(source.path()), after = load_tokenizer(target.path());
  CHECK(before->encode("the cats' lighthouse \xF0\x9F\x99\x82") == after->encode("the cats' lighthouse \xF0\x9F\x99\x82"));
  CHECK_FALSE(after->adds_bos());
}

TEST_CASE("tokenizer.json: bad text and bad ids are refused, cut bytes become U+FFFD", "[data]") {
  for (const json& golden : tokenizer_goldens()) {
    const auto tokenizer = tokenizer_from_json(golden["tokenizer"], {}, "golden");
    CHECK_THROWS_AS(tokenizer->encode("a\xFF"), std::invalid_argument);
    CHECK_THROWS_AS(tokenizer->decode({tokenizer->vocab_size()}), std::out_of_range);
    CHECK_THROWS_AS(tokenizer->decode({-1}), std::out_of_range);
    Ids ids = tokenizer->encode("\xF0\x9F\xA6\x9C");
    ids.pop_back();
    CHECK_THAT(tokenizer->decode(ids), ContainsSubstring("\xEF\xBF\xBD"));
  }
}

TEST_CASE("tokenizer.json: a file cut anywhere is refused", "[data]") {
  const TemporaryFolder folder;
  const std::string whole = golden_document("llama2").dump();
  for (size_t size = 0; size < whole.size(); size += 97) {
    write_text(folder / "tokenizer.json", whole.substr(0, size));
    CHECK_THROWS_AS(load_tokenizer(folder.path()), DataError);
  }
}

TEST_CASE("tokenizer.json: a wrong type anywhere is an error or harmless, never a crash", "[data]") {
  const std::vector<json> wrong = {nullptr, 1, -1, 1.5, 1e300, true, "x", "", json::array(), json::object(), {{"type", "x"}}, UINT64_MAX};
  for (const char* name : {"llama3", "llama2", "metaspace"}) {
    json document = golden_document(name);
    int refused = 0, changed = 0;
    for_each_place(document, [&](json& place) {
      const json original = place;
      for (const json& value : wrong) {
        place = value;
        ++changed;
        try {
          const auto tokenizer = tokenizer_from_json(document, {}, "t");
          tokenizer->decode(tokenizer->encode("the <tool> 12 \xC3\xA9"));
        } catch (const DataError&) {
          ++refused;
        }
      }
      place = original;
    });
    CHECK(refused > changed / 4);
  }
}

TEST_CASE("tokenizer.json: what keel does not have is named", "[data]") {
  const json good = golden_document("llama2");
  REQUIRE(complaint_about(good).empty());
  const auto with = [&](const std::string& pointer, const json& value) {
    json document = good;
    document[json::json_pointer(pointer)] = value;
    return complaint_about(document);
  };
  CHECK_THAT(with("/model/type", "Unigram"), ContainsSubstring("'model'") && ContainsSubstring("Unigram"));
  CHECK_THAT(with("/normalizer", {{"type", "NFC"}}), ContainsSubstring("normalizer 'NFC' is not supported"));
  CHECK_THAT(with("/pre_tokenizer", {{"type", "BertPreTokenizer"}}), ContainsSubstring("BertPreTokenizer"));
  CHECK_THAT(with("/decoder", {{"type", "WordPiece"}}), ContainsSubstring("WordPiece"));
  CHECK_THAT(with("/model/dropout", 0.1), ContainsSubstring("dropout"));
  CHECK_THAT(with("/model/end_of_word_suffix", "</w>"), ContainsSubstring("end_of_word_suffix"));
  CHECK_THAT(with("/model/merges/0", "one two"), ContainsSubstring("merge 0 names 'one', which is no piece"));
  CHECK_THAT(with("/model/merges/0", "a"), ContainsSubstring("two pieces with a blank between"));
  CHECK_THAT(with("/model/unk_token", "[UNK]"), ContainsSubstring("unk_token"));
  CHECK_THAT(with("/model/vocab/a", 0), ContainsSubstring("stands for two pieces"));
  CHECK_THAT(with("/model/vocab/a", 1LL << 40), ContainsSubstring("ids must be 0.."));
  CHECK_THAT(with("/added_tokens/0/id", -1), ContainsSubstring("'added_tokens'"));
  CHECK_THAT(with("/pre_tokenizer", {{"type", "Split"}, {"pattern", {{"Regex", "("}}}, {"behavior", "Isolated"}}),
             ContainsSubstring("cannot be compiled"));
}

TEST_CASE("tokenizer.json: merges may be pairs, and pieces with blanks then need no guessing", "[data]") {
  const json document = json::parse(R"({"added_tokens": [], "decoder": {"type": "Fuse"},
      "model": {"type": "BPE", "vocab": {"a": 0, " ": 1, "a ": 2, "a a": 3}, "merges": [["a", " "], ["a ", "a"]]}})");
  const auto tokenizer = tokenizer_from_json(document, {}, "t");
  CHECK(tokenizer->encode("a aa ") == Ids{3, 2});
  CHECK(tokenizer->decode({3, 2}) == "a aa ");
}

TEST_CASE("tokenizer.json: story-hf's tokenizer spells special tokens out and begins with BOS", "[data]") {
  const auto tokenizer = load_tokenizer(keel::test::shared_data() / "tinyllama/story-hf");
  CHECK(tokenizer->vocab_size() == 2048);
  CHECK(tokenizer->bos() == 1);
  CHECK(tokenizer->eos() == 2);
  CHECK(tokenizer->adds_bos());
  CHECK(tokenizer->encode("<|end_story|>").size() > 3);
  const std::string text = "Once upon a time, there was a little girl named Lily.";
  CHECK(tokenizer->decode(tokenizer->encode(text)) == text);
}
