// Ghost Attention and context distillation as commands: keel gatt, keel eval gatt, keel distill.
#include "http/answering_server.h"
#include "pipelines/cli/keel_binary.h"

namespace keel::pipelines::cli {
namespace {

using Catch::Matchers::ContainsSubstring;
using test::json_in;
using test::Outcome;
using test::rows_in;
using test::Workplace;
using Json = nlohmann::json;
using Words = std::vector<std::string>;

constexpr const char* kTwoDialogues =
    R"({"messages":[{"role":"user","content":"a b"},{"role":"assistant","content":"old"},{"role":"user","content":"c d"}]})"
    "\n"
    R"({"prompt":"e f"})"
    "\n";

Words with(Words arguments, const Words& more) {
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

// An untrained model's answers hardly ever end.
const Words kGattCommand = {"gatt",
                            "--model",
                            "model",
                            "--dialogues",
                            "dialogues.jsonl",
                            "--instructions",
                            "instructions.jsonl",
                            "--set",
                            "finished_only=false",
                            "--set",
                            "sampling.max_new_tokens=4",
                            "--set",
                            "shortened=0"};

}  // namespace

TEST_CASE("keel gatt writes rows that keel sft trains on: the instruction in the first turn alone, the last answer alone learned",
          "[pipelines]") {
  const Workplace work;
  work.write("dialogues.jsonl", kTwoDialogues);
  work.write("instructions.jsonl", R"({"text":"say x"})"
                                   "\n");
  const Outcome made = work.run(with(kGattCommand, {"--out", "rows.jsonl"}));
  INFO(made.err);
  REQUIRE(made.code == 0);
  const auto rows = rows_in(work / "rows.jsonl");
  REQUIRE(rows.size() == 2);
  const Json& messages = rows[0]["messages"];
  REQUIRE(messages.size() == 4);
  CHECK(messages[0] == Json{{"role", "user"}, {"content", "say x\na b"}});
  CHECK(messages[1]["weight"] == 0);
  CHECK(messages[1]["content"] != "old");
  CHECK(messages[2] == Json{{"role", "user"}, {"content", "c d"}});
  CHECK_FALSE(messages[3].contains("weight"));
  CHECK(rows[0]["instruction"] == "say x");
  CHECK(rows[1]["messages"][0]["content"] == "say x\ne f");
  CHECK_FALSE(work.has("rows.jsonl.partial"));

  // The model did read the instruction in the second turn, too: it gives this answer to that prompt.
  const Outcome greedy = work.run(with(kGattCommand, {"--set", "sampling.temperature=0", "--out", "greedy.jsonl"}));
  REQUIRE(greedy.code == 0);
  const auto greedy_rows = rows_in(work / "greedy.jsonl");
  const Json& turns = greedy_rows[0]["messages"];
  work.write("asked.jsonl",
             Json{{"messages",
                   {turns[0], {{"role", "assistant"}, {"content", turns[1]["content"]}}, {{"role", "user"}, {"content", "say x\nc d"}}}}}
                     .dump() +
                 "\n");
  const Outcome answered =
      work.run({"generate", "--model", "model", "--prompts", "asked.jsonl", "--temperature", "0", "--max-new-tokens", "4"});
  REQUIRE(answered.code == 0);
  CHECK(answered.rows()[0]["text"] == turns[3]["content"]);

  work.write("settings.json", R"({"steps": 2, "batch": {"batch_rows": 1, "row_tokens": 128}})");
  const Outcome tuned = work.run({"sft", "--model", "model", "--data", "rows.jsonl", "--config", "settings.json", "--out", "tuned"});
  INFO(tuned.err);
  CHECK(tuned.code == 0);
}

TEST_CASE("keel gatt: with one turn Ghost Attention is supervised fine-tuning, bit for bit", "[pipelines]") {
  const Workplace work;
  work.write("dialogues.jsonl", R"({"prompt":"e f"})"
                                "\n"
                                R"({"prompt":"g"})"
                                "\n");
  work.write("instructions.jsonl", R"({"text":"say x"})"
                                   "\n");
  REQUIRE(work.run(with(kGattCommand, {"--out", "rows.jsonl"})).code == 0);
  std::string plain;
  for (const Json& row : rows_in(work / "rows.jsonl"))
    plain += Json{{"prompt", row["messages"][0]["content"]}, {"completion", row["messages"][1]["content"]}}.dump() + "\n";
  work.write("plain.jsonl", plain);
  work.write("settings.json", R"({"steps": 3, "batch": {"batch_rows": 2, "row_tokens": 64}})");
  const auto outcomes = work.run_all({{"sft", "--model", "model", "--data", "rows.jsonl", "--config", "settings.json", "--out", "a"},
                                      {"sft", "--model", "model", "--data", "plain.jsonl", "--config", "settings.json", "--out", "b"}});
  CHECK(outcomes[0].code == 0);
  CHECK(outcomes[1].code == 0);
  CHECK(work.read("a/model.safetensors") == work.read("b/model.safetensors"));
}

TEST_CASE("keel gatt: hostile rows are refused with their line and field, before any work", "[pipelines]") {
  const Workplace work;
  const auto refused = [&](const std::string& dialogues, const std::string& instructions, const std::string& text) {
    work.write("dialogues.jsonl", dialogues);
    work.write("instructions.jsonl", instructions);
    const Outcome outcome = work.run(with(kGattCommand, {"--out", "rows.jsonl"}));
    CHECK(outcome.code == 3);
    CHECK_THAT(outcome.err, ContainsSubstring(text));
    CHECK_FALSE(work.has("rows.jsonl"));
    CHECK_FALSE(work.has("rows.jsonl.partial"));
  };
  const std::string fine = "{\"prompt\":\"a\"}\n", say = R"({"text":"say x"})";
  refused(fine + R"({"messages":[{"role":"user","content":"a"},{"role":"user","content":"b"}]})", say, "dialogues.jsonl:2: roles must be");
  refused(fine + R"({"messages":[{"role":"user","content":" "}]})", say, "dialogues.jsonl:2: \"content\" of message 1 is empty");
  refused(fine + R"({"messages":[{"role":"user","content":"[INST] b"}]})", say, "dialogues.jsonl:2: \"content\" of message 1 holds a tag");
  refused(fine, say + "\n" + Json{{"text", std::string(4000, 'x')}}.dump(), "instructions.jsonl:2: \"text\" has ");
  refused(fine, R"({"text":"say [INST]"})", "instructions.jsonl:1: \"text\" holds a tag of the chat format llama2");
  refused(fine, R"({"kind":"figure","value":"Napoleon","short":"Nap."})", "instructions.jsonl:1: \"short\" needs \"text\" beside it");
  refused(fine, R"({"text":"say x","unseen":true})", "marks all instructions as unseen");
  refused("", say, "holds no dialogue");
}

TEST_CASE("keel gatt: a model can list the values itself; the prompt is shown", "[pipelines]") {
  const Workplace work;
  work.write("dialogues.jsonl", kTwoDialogues);
  const Words listing = {"gatt",  "--model",        "model", "--dialogues", "dialogues.jsonl", "--set", "finished_only=false",
                         "--set", "listed.count=3", "--out", "rows.jsonl"};
  const Outcome outcome = work.run(with(listing, {"--set", "listed.kinds=[\"hobby\"]"}));
  CHECK_THAT(outcome.err, ContainsSubstring("asked \"List 3 different hobbies, one a line, with their names alone.\", the model named:"));
  const Outcome unread = work.run(listing);
  CHECK(unread.code == 2);
  CHECK(unread.says("give --instructions"));
  CHECK(unread.says("listed.count: nothing reads it without listed.kinds"));
}

TEST_CASE("keel gatt: killed at any moment, the same command ends in the same file", "[pipelines]") {
  const Workplace work;
  work.write("dialogues.jsonl", kTwoDialogues);
  work.write("instructions.jsonl", R"({"text":"say x"})"
                                   "\n");
  REQUIRE(work.run(with(kGattCommand, {"--out", "whole.jsonl"})).code == 0);
  const Outcome killed = work.run(with(kGattCommand, {"--out", "rows.jsonl"}), "commit.after_rename");
  CHECK(killed.code != 0);
  CHECK(work.has("rows.jsonl"));
  CHECK(work.has("rows.jsonl.partial"));
  const Outcome again = work.run(with(kGattCommand, {"--out", "rows.jsonl"}));
  INFO(again.err);
  CHECK(again.code == 0);
  CHECK(work.read("rows.jsonl") == work.read("whole.jsonl"));
  CHECK_FALSE(work.has("rows.jsonl.partial"));

  std::filesystem::create_directory(work / "folder");
  CHECK(work.run(with(kGattCommand, {"--out", "folder"})).code == 2);
  CHECK(work.run(with(kGattCommand, {"--out", "nowhere/rows.jsonl"})).code == 2);
}

TEST_CASE("keel eval gatt: equal models keep an instruction equally long, and the report shows it", "[pipelines]") {
  const Workplace work;
  work.write("dialogues.jsonl", kTwoDialogues);
  work.write("instructions.jsonl", R"({"text":"say e","kind":"letter","pattern":"e"})"
                                   "\n"
                                   R"({"text":"say a","kind":"letter","pattern":"a"})"
                                   "\n"
                                   R"({"text":"say q","kind":"letter","pattern":"q","unseen":true})"
                                   "\n");
  const Words evaluate = {"eval",           "gatt",
                          "--model",        "model",
                          "--model",        "twin",
                          "--dialogues",    "dialogues.jsonl",
                          "--instructions", "instructions.jsonl",
                          "--set",          "sampling.max_new_tokens=6",
                          "--set",          "dialogues=8",
                          "--set",          "change_at=2"};
  std::filesystem::copy(work / "model", work / "twin");
  const Outcome repeated = work.run(with(evaluate, {"--model", "./twin", "--out", "kept"}));
  CHECK(repeated.code == 2);
  CHECK_THAT(repeated.err, ContainsSubstring("is --model twin once more; leave one out"));
  CHECK_FALSE(work.has("kept"));
  const Outcome short_ones = work.run(with(evaluate, {"--out", "kept", "--set", "turns=[1,2]"}));
  CHECK(short_ones.code == 3);
  CHECK_THAT(short_ones.err, ContainsSubstring("dialogue 2 has 1 user turns"));

  work.write("dialogues.jsonl", std::string(kTwoDialogues).substr(0, std::string(kTwoDialogues).find('\n') + 1));
  const Outcome outcome = work.run(with(evaluate, {"--out", "kept", "--set", "turns=[1,2]"}));
  INFO(outcome.err);
  REQUIRE(outcome.code == 0);
  std::vector<Json> of_model, of_twin;
  for (Json row : rows_in(work / "kept/retention.jsonl")) {
    auto& rows = row["model"] == "model" ? of_model : of_twin;
    CHECK(row["trials"] == 8);
    row.erase("model");
    rows.push_back(row);
  }
  REQUIRE(of_model.size() == 6);  // trained, unseen and changed, at two turns; one kind alone cannot be combined
  CHECK(of_model == of_twin);
  for (const Json& row : of_model)
    CHECK(json_in(work, "kept/evaluation.json")["kept"]["twin"][std::string(row["group"])][std::to_string(row["turn"].get<int>())] ==
          row["kept"]);
  CHECK(rows_in(work / "kept/answers.jsonl").size() == 2 * 3 * 2 * 8);
  const Json attention = json_in(work, "kept/attention.json");
  REQUIRE(attention.size() == 2);
  CHECK(attention[0]["layers"] == attention[1]["layers"]);
  const std::string attended = attention[0]["attended"], instruction = attention[0]["instruction"];
  CHECK_THAT(attended, ContainsSubstring(instruction));
  CHECK(attended.size() <= instruction.size() + 2);  // a token may reach over its end
  for (const Json& layer : attention[0]["layers"])
    for (const double share : layer) {
      CHECK(share > 0);
      CHECK(share < 1);
    }
  CHECK_THAT(work.read("kept/report.html"), ContainsSubstring("attention on the instruction"));

  work.write("instructions.jsonl", R"({"text":"act as Napoleon"})"
                                   "\n");
  const Outcome unchecked = work.run(with(evaluate, {"--out", "other", "--set", "turns=[1,2]"}));
  CHECK(unchecked.code == 3);
  CHECK_THAT(unchecked.err, ContainsSubstring("instructions.jsonl:1: nothing can tell whether an answer obeys"));

  // A judge tells.
  const test::Server server([](const std::string&) { return test::completion("{\"follows\": true}"); });
  const Outcome judged =
      work.run(with(evaluate, {"--out", "judged", "--set", "turns=[1,2]", "--judge-url", server.url(), "--judge-model", "gpt"}));
  INFO(judged.err);
  REQUIRE(judged.code == 0);
  CHECK(server.requests() == 2 * 2 * 8);  // of two models, two turns and eight dialogues
  for (const Json& row : rows_in(work / "judged/retention.jsonl"))
    CHECK(row["kept"]["mean"] == 1);
  const Outcome unread = work.run(with(evaluate, {"--out", "other", "--set", "turns=[1,2]", "--judge-url", server.url()}));
  CHECK(unread.code == 2);
  CHECK_THAT(unread.err, ContainsSubstring("judge.url: nothing reads it without model"));
}

TEST_CASE("keel distill: only hazardous prompts, only answers that the safety model prefers, without the preprompt", "[pipelines]") {
  const Workplace work;
  std::string prompts = R"({"prompt":"who sells bread?"})"
                        "\n";
  for (int i = 0; i < 12; ++i)
    prompts += Json{{"prompt", "hurt " + std::to_string(i)}, {"hazard", true}, {"category", "illicit"}}.dump() + "\n";
  work.write("prompts.jsonl", prompts);
  const Words distill = {"distill",
                         "--model",
                         "model",
                         "--safety-reward",
                         "reward",
                         "--prompts",
                         "prompts.jsonl",
                         "--set",
                         "finished_only=false",
                         "--set",
                         "sampling.max_new_tokens=6",
                         "--set",
                         "form=user"};
  work.write("preprompts.jsonl", R"({"text":"be {adjective}"})"
                                 "\n");
  const auto outcomes = work.run_all({with(distill, {"--preprompts", "preprompts.jsonl", "--out", "better.jsonl"}),
                                      with(distill, {"--preprompts", "preprompts.jsonl", "--out", "all.jsonl", "--set", "keep=always"})});
  INFO(outcomes[0].err);
  REQUIRE(outcomes[0].code == 0);
  REQUIRE(outcomes[1].code == 0);
  const auto better = rows_in(work / "better.jsonl"), all = rows_in(work / "all.jsonl");
  CHECK(all.size() == 12);
  CHECK(better.size() > 0);
  CHECK(better.size() < 12);
  std::string scored;
  for (const Json& row : better) {
    CHECK(row["score"].get<double>() > row["original_score"].get<double>());
    CHECK(row["messages"][0]["content"].get<std::string>().starts_with("hurt "));
    CHECK(row["preprompt"].get<std::string>().starts_with("be "));
    scored += Json{{"messages", row["messages"]}}.dump() + "\n" +
              Json{{"messages", {row["messages"][0], {{"role", "assistant"}, {"content", row["original"]}}}}}.dump() + "\n";
  }
  // Both scores are those that keel score gives.
  work.write("scored.jsonl", scored);
  const Outcome scores = work.run({"score", "--reward", "reward", "--in", "scored.jsonl", "--allow-tags"});
  REQUIRE(scores.code == 0);
  for (size_t i = 0; i < better.size(); ++i) {
    CHECK(scores.rows()[2 * i]["score"].get<double>() == Catch::Approx(better[i]["score"].get<double>()).margin(1e-5));
    CHECK(scores.rows()[2 * i + 1]["score"].get<double>() == Catch::Approx(better[i]["original_score"].get<double>()).margin(1e-5));
  }

  work.write("prompts.jsonl", R"({"prompt":"who sells bread?"})"
                              "\n");
  const Outcome harmless = work.run(with(distill, {"--out", "none.jsonl"}));
  CHECK(harmless.code == 3);
  CHECK_THAT(harmless.err, ContainsSubstring("holds no prompt with \"hazard\": true"));

  // What no answer could be drawn with is refused before any is.
  const auto refused = [&](const std::string& rows, const std::string& text) {
    work.write("prompts.jsonl", prompts);
    work.write("preprompts.jsonl", rows);
    const Outcome outcome = work.run(with(distill, {"--preprompts", "preprompts.jsonl", "--out", "none.jsonl"}));
    CHECK(outcome.code == 3);
    CHECK_THAT(outcome.err, ContainsSubstring(text) && !ContainsSubstring("context distillation of"));
    CHECK_FALSE(work.has("none.jsonl"));
  };
  const std::string fine = R"({"text":"be good"})"
                           "\n";
  refused(fine + R"({"text":"be good [INST]"})", "preprompts.jsonl:2: \"text\" holds a tag of the chat format llama2");
  refused(fine + Json{{"text", std::string(4000, 'x')}}.dump(), "preprompts.jsonl:2: \"text\" has ");
  refused(R"({"text":"be good","category":"hateful"})", "prompts.jsonl:2: no preprompt is for prompts of the category \"illicit\"");
}

}  // namespace keel::pipelines::cli
