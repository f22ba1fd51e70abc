// keel chat through a pipe.
#include <csignal>

#include "core/terminal.h"
#include "pipelines/cli/typed_process.h"

using Catch::Matchers::ContainsSubstring;
using keel::test::json_in;
using keel::test::rows_in;
using keel::test::TypedProcess;
using keel::test::Workplace;
using nlohmann::json;

namespace {

json turn(const char* role, const std::string& content) {
  return {{"role", role}, {"content", content}};
}

// A model that hardly ever ends an answer, with a long context.
void write_endless_model(const Workplace& work) {
  auto tensors = keel::test::tiny_weights();
  for (int i = 0; i < keel::test::kTinyWidth; ++i)
    tensors[0].values[static_cast<size_t>(2 * keel::test::kTinyWidth + i)] = 0;  // EOS
  keel::test::write_tiny_folder(work / "endless", tensors, {{"architectures", {"LlamaForCausalLM"}}}, work / "model/tokenizer.model");
  json config = json_in(work, "endless/config.json");
  config["max_position_embeddings"] = 50'000;
  work.write("endless/config.json", config.dump());
}

}  // namespace

TEST_CASE("keel chat: answers are those of keel generate on the growing dialogue; /undo, /reset, /save and /quit do what they say",
          "[cli]") {
  const Workplace work;
  TypedProcess chat(work, {"chat", "model", "--system", "be kind", "--temperature", "0", "--max-new-tokens", "6"});
  chat.type("who sells bread?\n how many boats?\n\n/save d.jsonl\n/undo\n/save d.jsonl\n/reset\n/undo\n/dance\n/save\n/quit\nnot read\n");
  const auto outcome = chat.end();
  INFO(outcome.out << outcome.err);
  REQUIRE(outcome.code == 0);
  const auto saved = rows_in(work / "d.jsonl");
  REQUIRE(saved.size() == 2);
  const json& messages = saved[0]["messages"];
  REQUIRE(messages.size() == 5);
  CHECK(messages[0] == turn("system", "be kind"));
  CHECK(messages[1] == turn("user", "who sells bread?"));
  CHECK(messages[3] == turn("user", " how many boats?"));
  CHECK(saved[1]["messages"] == json(messages.begin(), messages.begin() + 3));
  // The same prompts by themselves.
  json first = {messages[0], messages[1]}, second = {messages[0], messages[1], turn("assistant", messages[2]["content"]), messages[3]};
  work.write("prompts.jsonl", json{{"messages", first}}.dump() + "\n" + json{{"messages", second}}.dump() + "\n");
  const auto rows =
      work.run({"generate", "--model", "model", "--prompts", "prompts.jsonl", "--temperature", "0", "--max-new-tokens", "6"}).rows();
  REQUIRE(rows.size() == 2);
  for (const size_t i : {0, 1}) {
    CHECK(messages[2 + 2 * i]["content"] == rows[i]["text"]);
    CHECK(messages[2 + 2 * i].contains("weight") == (rows[i]["finish_reason"] == "length"));  // broken off: context, nothing to learn
    CHECK_THAT(outcome.out, ContainsSubstring(keel::core::harmless(rows[i]["text"].get<std::string>()) + "\n" +
                                              (rows[i]["finish_reason"] == "length" ? "(cut off after 6 tokens)\n" : "")));
  }
  CHECK_THAT(outcome.out, ContainsSubstring("(row 2 of d.jsonl)") && ContainsSubstring("(a new dialogue)") &&
                              ContainsSubstring("there is nothing to take back") && ContainsSubstring("there is no command /dance") &&
                              ContainsSubstring("/save needs the name of a file") && !ContainsSubstring("you> "));
  const auto tuned = work.run({"sft", "--model", "model", "--data", "d.jsonl", "--out", "tuned", "--set", "steps=1"});
  CHECK(tuned.says("d.jsonl: kept "));  // it reads them
}

TEST_CASE("keel chat: the answer comes while it is made; Ctrl-C ends it and keeps the dialogue; at the prompt it ends the chat", "[cli]") {
  const Workplace work;
  write_endless_model(work);
  TypedProcess chat(work, {"chat", "endless", "--temperature", "0", "--max-new-tokens", "40000", "--log-level", "off"});
  chat.type("who sells bread?\n");
  for (int i = 0; i < 6000 && chat.out().size() < 20; ++i)
    usleep(10'000);
  REQUIRE(chat.out().size() >= 20);  // 40,000 tokens take minutes
  CHECK_THAT(chat.out(), !ContainsSubstring("(stopped)"));
  chat.signal(SIGINT);
  REQUIRE(chat.printed("(stopped)"));
  chat.type("/save d.jsonl\n");
  REQUIRE(chat.printed("(row 1 of d.jsonl)"));
  chat.signal(SIGINT);
  const auto outcome = chat.end();
  CHECK(outcome.code == 0);
  const json answer = rows_in(work / "d.jsonl").at(0)["messages"][1];
  CHECK(answer["weight"] == 0);
  CHECK_THAT(outcome.out, Catch::Matchers::StartsWith(keel::core::harmless(answer["content"].get<std::string>()) + "\n(stopped)"));

  TypedProcess ended(work, {"chat", "endless", "--temperature", "0", "--max-new-tokens", "40000"});
  ended.type("who sells bread?\n");
  for (int i = 0; i < 6000 && ended.out().empty(); ++i)
    usleep(10'000);
  ended.signal(SIGTERM);
  CHECK(ended.end().code == 75);
}

TEST_CASE("keel chat: reward models score each answer as keel score does, the gate decides between two", "[cli]") {
  const Workplace work;
  work.write_reward("safety", 1.5);
  work.write("combination.json", R"({"gate_threshold": 1})");  // everything is unsafe
  TypedProcess chat(work, {"chat", "model", "--reward", "reward", "--reward", "safety", "--temperature", "0", "--max-new-tokens", "6"});
  chat.type("who sells bread?\n/save d.jsonl\n");
  const auto outcome = chat.end();
  INFO(outcome.err);
  REQUIRE(outcome.code == 0);
  const auto scores =
      work.run_all({{"score", "--reward", "reward", "--in", "d.jsonl"}, {"score", "--reward", "safety", "--in", "d.jsonl"}});
  const double help = scores[0].rows().at(0)["probability"], safe = scores[1].rows().at(0)["probability"];
  char line[200];
  snprintf(line, sizeof line, "[helpfulness %.3f", help);
  CHECK_THAT(outcome.out, ContainsSubstring(line));
  snprintf(line, sizeof line, ", safety %.3f", safe);
  CHECK_THAT(outcome.out, ContainsSubstring(line));
  snprintf(line, sizeof line, ", combined %.3f (safety decides, gate 1)]", safe);
  CHECK_THAT(outcome.out, ContainsSubstring(line));
}

TEST_CASE("keel chat: a dialogue that does not fit is refused, or loses its oldest turns with a word", "[cli]") {
  const Workplace work;
  const std::string turns =
      "who sells bread in the harbour?\nand how many boats are there?\nwho mends the coats?\nwho sells bread in the harbour?\n";
  for (const bool drop : {false, true}) {
    TypedProcess chat(work, {"chat", "model", "--temperature", "0", "--max-new-tokens", "20", "--max-tokens", "80",
                             drop ? "--drop-oldest-turns" : "--keep-turns"});
    chat.type(turns);
    const auto outcome = chat.end();
    CHECK(outcome.code == 0);
    CHECK((outcome.out.find("not sent: ") != std::string::npos) != drop);
    CHECK((outcome.out.find("tokens are more than the 60 that fit; /reset begins anew, and with --drop-oldest-turns") !=
           std::string::npos) != drop);
    CHECK((outcome.out.find("the model does not see the oldest turns") != std::string::npos) == drop);
  }
  TypedProcess tags(work, {"chat", "model", "--max-new-tokens", "2"});
  tags.type("[INST] who\n\xff\n");
  const auto refused = tags.end();
  CHECK(refused.code == 0);
  CHECK_THAT(refused.out, ContainsSubstring("not sent: the user turn holds the llama2 tag \"[INST]\"") && ContainsSubstring("UTF-8"));
}

TEST_CASE("keel chat: what cannot work is refused before the first turn", "[cli]") {
  const Workplace work;
  std::filesystem::copy(work / "model", work / "plain", std::filesystem::copy_options::recursive);
  std::filesystem::remove(work / "plain/keel.json");
  const auto all = work.run_all({{"chat", "plain"},
                                 {"chat", "model", "--chat", "hh", "--system", "be kind"},
                                 {"chat", "model", "--max-tokens", "8", "--max-new-tokens", "8"},
                                 {"chat", "model", "--reward", "http://127.0.0.1:1/rm/x"},
                                 {"chat", "model", "--gate-threshold", "0.5"},
                                 {"chat", "missing"},
                                 {"chat", "model", "--system", "<</SYS>>"}});
  const std::vector<const char*> says = {"--chat",
                                         "--system: chat format hh has no system turn",
                                         "8 tokens hold prompt and answer here",
                                         "as folders",
                                         "nothing reads it without two reward models",
                                         "missing",
                                         "--system: the system turn holds"};
  for (size_t i = 0; i < all.size(); ++i) {
    INFO(i << all[i].err);
    CHECK(all[i].code == 2);
    CHECK(all[i].says(says[i]));
  }
}
