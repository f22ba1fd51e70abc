// keel serve against keel score.
#include <fmt/format.h>
#include <atomic>
#include <thread>

#include "pipelines/cli/serving.h"

namespace keel::pipelines::cli {

using Catch::Matchers::ContainsSubstring;
using test::Json;
using test::kRows;
using test::kTwo;
using test::Outcome;
using test::RawClient;
using test::Serving;
using test::with;
using test::Words;
using test::Workplace;

TEST_CASE("keel serve: every path gives the score of keel score, whatever the form of the request", "[pipelines]") {
  const Workplace work;
  work.write_reward("other", 1);
  work.write("rows.jsonl", kRows);
  std::vector<Json> inputs;
  for (Json row : test::rows_in(work / "rows.jsonl"))
    inputs.push_back(row);
  const auto offline = work.run_all(
      {{"score", "--reward", "reward", "--in", "rows.jsonl"},
       {"score", "--reward", "other", "--in", "rows.jsonl"},
       {"score", "--reward", "reward", "--reward", "other", "--combine", "llama2", "--gate-threshold", "0.45", "--in", "rows.jsonl"}});
  const Serving service(work, kTwo);
  const std::vector<std::string> names = {"helpfulness", "safety", "combined"};
  for (size_t m = 0; m < names.size(); ++m) {
    const auto [status, reply] = service.post("/v1/reward", {{"model", names[m]}, {"inputs", inputs}});
    INFO(names[m] << reply.dump());
    REQUIRE(status == 200);
    REQUIRE(reply["data"].size() == inputs.size());
    for (size_t i = 0; i < inputs.size(); ++i)
      CHECK(reply["data"][i]["score"].get<double>() == Catch::Approx(offline[m].rows().at(i)["score"].get<double>()).margin(1e-6));
  }
  const double expected = offline[0].rows()[0]["score"];
  const Json dialogue = {{{"role", "user"}, {"content", "who sells bread?"}}, {{"role", "assistant"}, {"content", "the baker."}}};
  const std::string rendered = "[INST] who sells bread? [/INST] the baker. </s>";
  const auto score_of = [&](const std::string& path, Json body, const char* pointer) {
    if (!path.starts_with("/rm/")) body["model"] = "helpfulness";
    const auto [status, reply] = service.post(path, body);
    INFO(path << " " << body.dump() << " -> " << status << " " << reply.dump());
    CHECK(status == 200);
    CHECK(reply.at(Json::json_pointer(pointer)).get<double>() == Catch::Approx(expected).margin(1e-6));
  };
  score_of("/v1/reward", {{"messages", dialogue}}, "/score");
  score_of("/get_reward", {{"query", {"<s>" + rendered}}}, "/rewards/0");
  score_of("/rm/helpfulness/get_reward", {{"query", {"<s>" + rendered}}}, "/rewards/0");
  score_of("/get_reward", {{"query", {"<s> " + rendered}}}, "/rewards/0");  // as some decoders write it
  score_of("/get_reward", {{"prompt", "who sells bread?"}, {"response", "the baker."}}, "");
  score_of("/get_reward", {{"prompt", {dialogue[0]}}, {"response", "the baker. </s>"}}, "");
  score_of("/get_reward", {{"prompt", "<s>[INST] who sells bread? [/INST]"}, {"response", " the baker. </s>"}}, "");
  score_of("/rm/helpfulness/v1/score/evaluation", {{"messages", {"<s>" + rendered}}}, "/scores/0");
  score_of("/classify", {{"messages", dialogue}}, "/data/0/probs/0");
  score_of("/classify", {{"input", rendered}, {"activation", false}}, "/data/0/probs/0");  // verl: without BOS
  score_of("/v1/classify", {{"text", {rendered}}}, "/0/embedding/0");
  score_of("/score", {{"text_1", "who sells bread?"}, {"text_2", "the baker."}}, "/data/0/score");
  score_of("/v1/rerank", {{"query", "who sells bread?"}, {"documents", {"the baker."}}}, "/results/0/relevance_score");
  score_of("/rm/helpfulness/rerank", {{"query", "who sells bread?"}, {"texts", {"the baker."}}, {"raw_scores", true}}, "/0/score");
  score_of("/pooling", {{"messages", dialogue}}, "/data/0/data/0");
  score_of("/rm/helpfulness/predict", {{"inputs", {"who sells bread?", "the baker."}}, {"raw_scores", true}}, "/0/score");

  work.write("bodies.jsonl", Json{{"messages", dialogue}}.dump() + "\n");
  const Outcome load =
      work.run({"bench", "serve", "--url", service.address() + "/v1/reward", "--in", "bodies.jsonl", "--rate", "50", "--seconds", "0.5"});
  INFO(load.err);
  REQUIRE(load.code == 0);
  CHECK(load.rows()[0]["statuses"]["200"] == load.rows()[0]["requests"]);
  CHECK(load.rows()[0]["p50_ms"].get<double>() > 0);

  // Text that a person typed makes no special token.
  const auto tokens = [&](const Json& body) { return service.post("/v1/reward", body).second["tokens"].get<int>(); };
  CHECK(tokens({{"prompt", "say </s> twice"}, {"response", "a"}}) > tokens({{"prompt", "say twice"}, {"response", "a"}}) + 2);
  CHECK(tokens({{"text", "</s>"}}) > 2);
  CHECK(service.post("/score", {{"text_1", "x [/INST] y"}, {"text_2", "a"}}).first == 400);
  CHECK(service.post("/score", {{"text_1", "x"}, {"text_2", "a [/INST] b"}}).first == 200);  // a model may write anything
}

TEST_CASE("keel serve: a score does not change with the texts beside it", "[pipelines]") {
  const Workplace work;
  std::vector<Json> inputs;
  for (int i = 0; i < 60; ++i)
    inputs.push_back({{"prompt", "how many boats are in harbour " + std::to_string(i * i) + "?"},
                      {"response", std::string(static_cast<size_t>(1 + 7 * i % 31), 'a')}});
  for (const bool deterministic : {false, true}) {
    const Serving service(work, deterministic ? Words{"--reward", "reward", "--deterministic"} : Words{"--reward", "reward"});
    CHECK(service.get("/info").second["keel"]["batch_difference"] == 0);
    const Json together = service.post("/v1/reward", {{"inputs", inputs}}).second["data"];
    REQUIRE(together.size() == inputs.size());
    for (size_t i = 0; i < inputs.size(); i += 7) {
      const double alone = service.post("/v1/reward", inputs[i]).second["score"],
                   pair = service.post("/v1/reward", {{"inputs", {inputs[0], inputs[i]}}}).second["data"][1]["score"];
      CHECK(alone == together[i]["score"].get<double>());
      CHECK(alone == pair);
    }
  }
}

TEST_CASE("keel serve: on another device scores may depend on the texts beside them, and says so, unless it is asked not to",
          "[pipelines]") {
  const Workplace work;
  const Json inputs = {{{"prompt", "who sells bread?"}, {"response", "the baker."}},
                       {{"prompt", "where?"}, {"response", "there, or here, or not"}}};
  for (const bool deterministic : {false, true}) {
    Words words = {"--reward", "reward", "--device", "pretend"};
    if (deterministic) words.push_back("--deterministic");
    const Serving service(work, words);
    const Json facts = service.get("/info").second["keel"];
    CHECK(facts["deterministic"] == deterministic);
    CHECK(facts["batch_difference"] == (deterministic ? Json(0) : Json(nullptr)));
    const Json together = service.post("/v1/reward", {{"inputs", inputs}}).second["data"];
    for (size_t i = 0; i < inputs.size(); ++i) {
      const double alone = service.post("/v1/reward", inputs[i]).second["score"], beside = together.at(i)["score"];
      if (deterministic)
        CHECK(alone == beside);
      else
        CHECK(alone == Catch::Approx(beside).margin(1e-5));
    }
  }
}

TEST_CASE("keel serve: the queue gives its room back, a request larger than it is served, overload is told, and the clients come back",
          "[pipelines]") {
  const Workplace work;
  Serving service(work, {"--reward", "reward", "--set", "queue.queued_texts=20"});
  const Json many = Json{{"query", std::vector<std::string>(200, "<s>a</s>")}};
  for (int i = 0; i < 5; ++i) {  // ten times the queue each
    CHECK(service.post("/get_reward", many).first == 200);
    CHECK(service.post("/get_reward", {{"query", {"<s>b</s>"}}}).first == 200);
  }
  CHECK(Serving::comes_true([&] { return service.get("/load").second["server_load"] == 0; }));
  std::atomic<int> served{0}, refused{0}, other{0};
  std::vector<std::thread> clients;
  for (int c = 0; c < 16; ++c)
    clients.emplace_back([&] {
      for (int i = 0; i < 20; ++i) {
        const RawClient client(service.address());
        client.send(test::post("/get_reward", Json{{"query", std::vector<std::string>(8, "<s>" + std::string(200, 'c'))}}.dump()));
        const std::string reply = client.reply();
        const int status = test::status_of(reply);
        (status == 200 ? served : status == 503 && reply.find("Retry-After: 1") != std::string::npos ? refused : other) += 1;
      }
    });
  for (auto& client : clients)
    client.join();
  CHECK((served > 0 && refused > 0 && other == 0));
  CHECK(Serving::comes_true([&] { return service.get("/load").second["server_load"] == 0; }));
  CHECK(service.post("/get_reward", many).first == 200);
  CHECK(service.get("/livez").first == 200);
  const std::string metrics = service.get("/metrics").second;
  CHECK_THAT(metrics, ContainsSubstring(fmt::format("keel_serve_rejected_total{{reason=\"overload\"}} {}\n", refused.load())));
}

TEST_CASE("keel serve: keys guard every path but health, and are exchanged while it runs", "[pipelines]") {
  const Workplace work;
  work.write("keys", "first-key-of-the-team\n");
  std::filesystem::permissions(work / "keys", std::filesystem::perms{0600});
  Serving service(work, {"--reward", "reward", "--keys", "keys"});
  const auto warned = [&] { return service.process().errors_so_far().find("can be read by every user") != std::string::npos; };
  CHECK_FALSE(warned());
  const std::string key = "Authorization: Bearer first-key-of-the-team\r\n", other = "X-Api-Key: second-key-of-the-team\r\n";
  for (const char* path : {"/", "/metrics", "//metrics", "/info", "/version", "/load", "/v1/models", "/v1/models/reward", "/rm/reward/info",
                           "/rm/reward/health", "/openapi.json", "/nothing"}) {
    INFO(path);
    CHECK(service.get(path).first == 401);
    CHECK(service.get(path, other).first == 401);
    const RawClient browser(service.address());
    browser.send(test::get(path));
    CHECK_THAT(browser.reply(), ContainsSubstring("WWW-Authenticate: Basic realm=\"keel\"\r\n"));
    CHECK(service.get(path, key).first == (std::string(path) == "/nothing" ? 404 : 200));
  }
  for (const char* path : {"/get_reward",
                           "/v1/score/evaluation",
                           "/v1/reward",
                           "/v1/logprobs",
                           "/classify",
                           "/v1/classify",
                           "/score",
                           "/v1/score",
                           "/rerank",
                           "/v1/rerank",
                           "/v2/rerank",
                           "/pooling",
                           "/v1/embeddings",
                           "/predict",
                           "/",
                           "/invocations",
                           "/tokenize",
                           "/rm/reward",
                           "/rm/reward/",
                           "/rm/reward/get_reward"}) {
    INFO(path);
    CHECK(service.post(path, {{"query", {"a"}}}).first == 401);
    CHECK(service.post(path, {{"query", {"a"}}}, key).first != 401);
  }
  for (const char* path : {"/health", "/ping", "/livez", "/readyz"})
    CHECK(service.get(path).first == 200);
  work.write("keys", "second-key-of-the-team\n");
  std::filesystem::permissions(work / "keys", std::filesystem::perms{0604});
  service.process().signal(SIGHUP);
  CHECK(Serving::comes_true([&] { return service.get("/version", other).first == 200; }));
  CHECK(service.get("/version", key).first == 401);
  CHECK(warned());
  work.write("keys", "short\n");
  service.process().signal(SIGHUP);
  CHECK(Serving::comes_true([&] { return service.process().errors_so_far().find("the keys stay as they were") != std::string::npos; }));
  CHECK(service.get("/version", other).first == 200);
}

TEST_CASE("keel serve: a reload exchanges the model between requests; one that fails its probes, or is broken, changes nothing",
          "[pipelines]") {
  const Workplace work;
  work.write_reward("other", 1);
  std::filesystem::create_directory_symlink("reward", work / "current");
  const auto point_to = [&](const char* folder) {
    std::filesystem::remove(work / "next");
    std::filesystem::create_directory_symlink(folder, work / "next");
    std::filesystem::rename(work / "next", work / "current");
  };
  Serving service(work, {"--reward", "rm=current", "--deterministic"});
  const Json input = {{"prompt", "who sells bread?"}, {"response", "the baker."}};
  const auto score = [&] { return service.post("/v1/reward", input).second["score"].get<double>(); };
  const double first = score();
  point_to("other");
  CHECK(score() == first);
  service.process().signal(SIGHUP);
  CHECK(Serving::comes_true([&] { return score() != first; }));
  const double second = score();
  std::map<std::string, double> by_digest;
  bool exact = true;
  std::atomic<bool> stop{false};
  std::thread reloads([&] {
    for (int i = 0; !stop; ++i) {
      point_to(i % 2 == 0 ? "reward" : "other");
      service.process().signal(SIGHUP);
      usleep(50'000);
    }
  });
  for (int i = 0; i < 150; ++i) {
    const Json reply = service.post("/v1/reward", {{"inputs", std::vector<Json>(5, input)}}).second;
    for (const Json& row : reply["data"]) {
      const double one = by_digest.emplace(reply["model_sha"], row["score"].get<double>()).first->second;
      exact = exact && row["score"].get<double>() == one && (one == first || one == second);
    }
  }
  stop = true;
  reloads.join();
  CHECK(exact);
  CHECK(by_digest.size() == 2);

  point_to("other");
  service.process().signal(SIGHUP);
  CHECK(Serving::comes_true([&] { return score() == second; }));
  work.write("reward/probes.jsonl", R"({"prompt":"who sells bread?","response":"the baker.","score":99})"
                                    "\n");
  point_to("reward");
  service.process().signal(SIGHUP);
  CHECK(Serving::comes_true(
      [&] { return service.process().errors_so_far().find("probes.jsonl:1: this probe scores") != std::string::npos; }));
  CHECK(score() == second);
  std::filesystem::remove(work / "reward/probes.jsonl");
  work.write("reward/model.safetensors", "broken");
  service.process().signal(SIGHUP);
  CHECK(Serving::comes_true([&] { return service.process().errors_so_far().find("model.safetensors") != std::string::npos; }));
  CHECK(score() == second);
  CHECK(service.get("/readyz").first == 200);
}

TEST_CASE("keel serve: SIGTERM answers what was accepted, refuses the rest and ends with 0; what takes too long gets 503", "[pipelines]") {
  const Workplace work;
  const auto many = test::post("/get_reward", Json{{"query", std::vector<std::string>(300, "<s>" + std::string(200, 'x'))}}.dump());
  {
    Serving service(work, {"--reward", "reward", "--set", "queue.batch_texts=1"});
    std::vector<std::unique_ptr<RawClient>> clients;
    const RawClient kept_open(service.address());
    kept_open.send(test::get("/livez"));
    CHECK(test::status_of(kept_open.reply()) == 200);
    for (int i = 0; i < 8; ++i) {
      clients.push_back(std::make_unique<RawClient>(service.address()));
      clients.back()->send(many);
    }
    CHECK(Serving::comes_true([&] { return service.get("/load").second["server_load"].get<int>() >= 100; }));
    const RawClient slow(service.address());
    const std::string whole = test::post("/get_reward", R"({"query": ["<s>slow"]})");
    slow.send(whole.substr(0, whole.size() - 3));  // let in: its body is on its way
    usleep(100'000);
    service.process().signal(SIGTERM);
    usleep(100'000);
    kept_open.send(test::post("/get_reward", R"({"query": ["<s>late"]})"));
    CHECK(test::status_of(kept_open.reply()) == 503);
    for (const auto& client : clients)
      CHECK(test::status_of(client->reply()) == 200);
    usleep(200'000);  // nothing else is pending any more
    slow.send(whole.substr(whole.size() - 3));
    CHECK(test::status_of(slow.reply()) == 200);
    const Outcome end = service.process().wait();
    INFO(end.err);
    CHECK(end.code == 0);
  }
  Serving service(work, {"--reward", "reward", "--set", "queue.batch_texts=1", "--set", "drain_seconds=0"});
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 40; ++i) {
    clients.push_back(std::make_unique<RawClient>(service.address()));
    clients.back()->send(many);
  }
  CHECK(Serving::comes_true([&] { return service.get("/load").second["server_load"].get<int>() >= 1000; }));
  const RawClient unfinished(service.address());
  unfinished.send(many.substr(0, many.size() - 3));
  usleep(100'000);
  service.process().signal(SIGTERM);
  usleep(100'000);
  unfinished.send(many.substr(many.size() - 3));
  CHECK(test::status_of(unfinished.reply()) == 503);
  int served = 0, refused = 0;
  for (const auto& client : clients) {
    const int status = test::status_of(client->reply());
    served += status == 200 ? 1 : 0;
    refused += status == 503 ? 1 : 0;
  }
  CHECK(served + refused == 40);
  CHECK(refused > 0);
  const Outcome end = service.process().wait();
  INFO(end.err);
  CHECK(end.code == 0);
}

TEST_CASE("keel serve: the status of each case in each family", "[pipelines]") {
  const Workplace work;
  work.write_reward("other", 1);
  auto nan = test::tiny_weights();  // no weight is, but the score overflows
  nan.push_back({.name = "score.weight", .shape = {1, test::kTinyWidth}, .values = std::vector<float>(test::kTinyWidth, 3e38F)});
  test::write_tiny_folder(work / "nan", nan,
                          {{"architectures", {"LlamaForSequenceClassification"}}, {"num_labels", 1}, {"pad_token_id", 3}},
                          work / "tokenizer.model");
  const Serving service(work, {"--reward", "rm=reward", "--reward", "nan=nan", "--policy", "lm=model", "--set", "most_texts=40"});
  const Json paths = service.get("/openapi.json").second["paths"];
  for (const char* path : {"/v1/reward", "/rm/{name}/v1/reward", "/rm/{name}/get_reward", "/predict", "/v1/logprobs", "/metrics"})
    CHECK(paths.contains(path));
  CHECK_FALSE(paths.contains("/v1/embeddings"));
  for (const auto& [path, operations] : paths.items()) {
    INFO(path);
    const size_t name = path.find("{name}");
    const std::string there = name == std::string::npos ? path : std::string(path).replace(name, 6, "rm");
    if (operations.contains("post")) {
      const int status = service.post(there, Json::object()).first;
      CHECK((status == 400 || status == 422));  // it is there, and misses its members
    }
    if (operations.contains("get")) CHECK(service.get(there).first == 200);
  }
  CHECK(service.post("/rerank", {{"query", "q"}, {"documents", std::vector<std::string>(33, "texts")}}).first == 200);  // not TEI's form
  const std::vector<std::string> many(41, "a");
  const std::string longest(2000, 'x');
  const std::vector<std::tuple<std::string, Json, int>> cases = {
      {"/get_reward", {{"query", Json::array()}}, 200},
      {"/classify", {{"input", Json::array()}}, 400},
      {"/predict", {{"inputs", Json::array()}}, 400},
      {"/get_reward", {{"query", many}}, 413},
      {"/classify", {{"input", many}}, 400},
      {"/rerank", {{"query", "q"}, {"texts", std::vector<std::string>(33, "a")}}, 422},
      {"/rerank", {{"query", std::string(3'000'000, 'q')}, {"documents", std::vector<std::string>(40, "a")}}, 400},  // 120 MB of prompts
      {"/v1/reward", {{"text", longest}}, 200},                                                                      // its end is scored
      {"/v1/reward", {{"text", longest}, {"overlong", "refuse"}}, 400},
      {"/predict", {{"inputs", longest}, {"truncate", false}}, 422},
      {"/classify", {{"input", "a"}, {"truncate_prompt_tokens", 97}}, 400},
      {"/classify", {{"input", "a"}, {"model", "nobody"}}, 404},
      {"/rm/nobody/get_reward", {{"query", {"a"}}}, 404},
      {"/rm/nan/get_reward", {{"query", {"a"}}}, 500},
      {"/rm/nan/classify", {{"input", "a"}}, 500},
      {"/rm/nan/predict", {{"inputs", "a"}}, 424},
      {"/classify", {{"input", {319, 320}}}, 400},  // 320 is no id
      {"/v1/embeddings", {{"input", "a"}}, 404},
      {"/predict", {{"inputs", {"[/INST]", "a"}}}, 422},
      {"/score", {{"text_1", "[/INST]"}, {"text_2", "a"}}, 400},
      {"/v1/logprobs", {{"model", "rm"}, {"ids", {1, 2}}}, 404},
      {"/v1/logprobs", {{"ids", {5, 9, 77}}}, 200}};
  for (const auto& [path, body, status] : cases) {
    const auto [found, reply] = service.post(path, body);
    INFO(path << " " << body.dump().substr(0, 100) << " -> " << reply.dump().substr(0, 300));
    CHECK(found == status);
  }
  CHECK(service.ask("DELETE /classify HTTP/1.1\r\nHost: x\r\n\r\n").first == 405);
  CHECK(service.ask("POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}").first == 415);
  CHECK(service
            .ask("POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: Application/JSON ; charset=utf-8\r\nContent-Length: "
                 "13\r\n\r\n{\"input\":\"a\"}")
            .first == 200);

  work.write("ids.jsonl", R"({"ids":[5,9,77,12]}
{"messages":[{"role":"user","content":"who?"},{"role":"assistant","content":"the baker."}]}
)");
  const auto offline = work.run({"logprobs", "--model", "model", "--in", "ids.jsonl"}).rows();
  const auto rows = test::rows_in(work / "ids.jsonl");
  const Json served = service.post("/v1/logprobs", {{"inputs", rows}}).second["data"];
  for (size_t i = 0; i < 2; ++i) {
    REQUIRE(served[i]["logprobs"].size() == offline.at(i)["logprobs"].size());
    for (size_t t = 0; t < offline[i]["logprobs"].size(); ++t)
      CHECK(served[i]["logprobs"][t].get<double>() == Catch::Approx(offline[i]["logprobs"][t].get<double>()).margin(1e-6));
  }
}

TEST_CASE("keel serve: a history of thousands of exchanges and a text of a megabyte hold nobody up", "[pipelines]") {
  const Workplace work;
  Json config = Json::parse(work.read("reward/keel.json"));
  config["limit"] = {{"max_tokens", 64}, {"drop_oldest_turns", true}};
  work.write("reward/keel.json", config.dump());
  const Serving service(work, {"--reward", "reward"});
  Json history = Json::array();
  for (int i = 0; i < 5000; ++i) {
    history.push_back({{"role", "user"}, {"content", "how many boats?"}});
    history.push_back({{"role", "assistant"}, {"content", "three"}});
  }
  const auto begin = std::chrono::steady_clock::now();
  const Json reply = service.post("/v1/reward", {{"messages", history}}).second;
  INFO(reply.dump().substr(0, 500));
  CHECK((reply["truncated"] == true && reply["cut"] == false && reply["tokens"].get<int>() <= 64));
  CHECK(service.post("/v1/reward", {{"text", std::string(1 << 20, 'x')}}).first == 200);
  CHECK(service.post("/v1/reward", {{"text", std::string((1 << 20) + 1, 'x')}}).first == 400);
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(60));  // minutes to hours, were each length tried in turn
}

TEST_CASE("keel serve: what cannot work is refused", "[pipelines]") {
  const Workplace work;
  work.write_reward("other", 1);
  const auto outcomes = work.run_all({{"serve", "--reward", "reward", "--bind", "0.0.0.0:0"},
                                      {"serve", "--reward", "a=reward", "--reward", "a=other"},
                                      {"serve", "--reward", "combined=reward"},
                                      {"serve", "--reward", "a b=reward"},
                                      {"serve", "--reward", "x=reward", "--combine", "llama2"},
                                      {"serve", "--reward", "reward", "--gate-threshold", "0.2"},
                                      {"serve", "--reward", "nowhere", "--bind", "127.0.0.1:0"},
                                      {"serve", "--reward", "model", "--bind", "127.0.0.1:0"},
                                      {"serve", "--reward", "reward", "--keys", "none", "--bind", "127.0.0.1:0"},
                                      {"serve", "--reward", "reward", "--base", "model", "--bind", "127.0.0.1:0"}});
  const std::vector<std::string> messages = {"give --keys FILE, or --insecure",
                                             "given twice",
                                             "that of --combine",
                                             "a name is made of",
                                             "needs --reward helpfulness=DIR",
                                             "nothing reads it without --combine",
                                             "nowhere",
                                             "score.weight",
                                             "none",
                                             "no model is a PEFT adapter"};
  for (size_t i = 0; i < outcomes.size(); ++i) {
    INFO(i << " " << outcomes[i].err);
    CHECK((outcomes[i].code == 2 || outcomes[i].code == 3));
    CHECK(outcomes[i].says(messages[i]));
  }
}

}  // namespace keel::pipelines::cli
