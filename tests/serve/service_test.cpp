// The service without sockets and with models of the test's own: paths, names of models, headers, readiness.
#include "serve/service.h"

#include <future>
#include <nlohmann/json.hpp>

#include "core/log.h"
#include "serve/dialects/paths.h"
#include "serve/openapi.h"
#include "serve/tokens.h"
#include "support/byte_tokenizer.h"
#include "support/test_plain.h"

namespace keel::serve {
namespace {

using Catch::Matchers::ContainsSubstring;
using Json = nlohmann::json;

// A model that gives every text one score, once the gate is open.
std::shared_ptr<ServedModel> model_of(const std::string& name, float score, std::shared_future<void> gate) {
  auto model = std::make_shared<ServedModel>();
  model->name = name;
  model->digest = "digest-" + name;
  model->metadata = {{"lineage", {{"stage", "reward"}, {"kind", name + "\n\xc3\xa4"}}}};
  model->tokenizer = std::make_shared<test::ByteTokenizer>();
  model->format = data::ChatFormat::chatml;
  model->shape.vocab_size = model->tokenizer->vocab_size();
  model->most_tokens = 64;
  model->forward = std::make_shared<const Forward>([score, gate](const std::vector<core::Ids>& rows) {
    gate.wait();
    return std::vector<Values>(rows.size(), Values{score});
  });
  return model;
}

std::shared_ptr<const ModelSet> both_models(const std::shared_future<void>& gate) {
  auto set = std::make_shared<ModelSet>();
  set->rewards = {model_of("helpfulness", 1, gate), model_of("safety", -1, gate), model_of("/models/rm", 3, gate)};
  set->combined = true;
  return set;
}

http::Request request_of(const std::string& method, const std::string& path, const std::string& body = {}, const std::string& site = {},
                         const std::string& key = {}) {
  http::Request request;
  request.method = method, request.path = path, request.body = body, request.fetch_site = site, request.api_key = key;
  return request;
}

class Asking {
 public:
  explicit Asking(const ServiceConfig& config = {}, const std::string& keys = {}, bool open = true) : service(config, keys) {
    core::set_log_level("error");
    if (open) gate_.set_value();
    service.use(both_models(gate));
  }

  std::future<http::Reply> begin(http::Request request) {
    const auto promise = std::make_shared<std::promise<http::Reply>>();
    auto reply = promise->get_future();
    request.gone = std::make_shared<std::atomic<bool>>(false);
    if (auto refused = service.screen(request))
      promise->set_value(*refused);
    else
      service.handle(std::move(request), [promise](http::Reply given) { promise->set_value(std::move(given)); });
    return reply;
  }
  http::Reply ask(const http::Request& request) { return begin(request).get(); }
  http::Reply get(const std::string& path) { return ask(request_of("GET", path)); }
  http::Reply post(const std::string& path, const std::string& body) { return ask(request_of("POST", path, body)); }
  Json posted(const std::string& path, const std::string& body) {
    const auto reply = post(path, body);
    INFO(path << " " << body << " -> " << reply.status << " " << reply.body);
    CHECK(reply.status == 200);
    return Json::parse(reply.body);
  }
  void open() { gate_.set_value(); }

  Service service;

 private:
  std::promise<void> gate_;
  std::shared_future<void> gate = gate_.get_future().share();
};

std::string header(const http::Reply& reply, const std::string& name) {
  for (const auto& [known, value] : reply.headers)
    if (known == name) return value;
  return "(none)";
}

}  // namespace

TEST_CASE("service: the model that a request names answers on every path, by the body or by the path", "[serve]") {
  Asking service;
  const auto predicted = [&](const std::string& path, const std::string& model) {
    return service.posted(path, R"({"inputs": "x", "raw_scores": true, "model": )" + model + "}")[0]["score"].get<double>();
  };
  for (const char* path : {"/predict", "/", "/invocations", "//predict/"}) {
    CHECK(predicted(path, "\"safety\"") == -1);
    CHECK(predicted(path, "\"/models/rm\"") == 3);
    CHECK(predicted(path, "\"nobody\"") == 1);  // as TEI, which does not know the member
    CHECK(predicted(path, "7") == 1);
  }
  for (const char* path : {"/rm/safety", "/rm/safety/", "/rm/safety/predict", "/rm//safety//predict/"})
    CHECK(predicted(path, "\"helpfulness\"") == -1);  // the path wins
  for (const char* path : {"/rm//models/rm", "/rm/%2Fmodels%2Frm/predict", "/rm/models/rm/predict"})
    CHECK(predicted(path, "null") == 3);
  CHECK(service.posted("/v1/score/evaluation", R"({"model": "safety", "messages": ["x"]})")["scores"][0] == -1.0);
  CHECK(service.posted("/v1/score/evaluation", R"({"model": "gpt", "messages": ["x"]})")["model"] == "combined");
  CHECK(service.posted("/rerank", R"({"model": "safety", "query": "q", "texts": ["x"], "raw_scores": true})")[0]["score"] == -1.0);
  for (const char* path : {"/rm/nobody", "/rm/nobody/predict", "/rm/nobody/nothing"})
    CHECK(service.post(path, R"({"inputs": "x"})").status == 404);
  for (const char* path : {"/rm/nobody/info", "/rm/nobody/health", "/v1/models/nobody", "/rm/nobody", "/v1/models/nobody/safety"})
    CHECK(service.get(path).status == 404);
  CHECK(service.get("/rm/safety").status == 405);
  CHECK(service.post("/classify", R"({"input": "x", "model": "nobody"})").status == 404);
  CHECK(service.post("/v1/reward", R"({"inputs": [{"text": "x", "model": "safety"}]})").status == 400);

  CHECK(Json::parse(service.get("/v1/models/safety").body)["sha"] == "digest-safety");
  CHECK(Json::parse(service.get("/v1/models/%2Fmodels%2frm").body)["id"] == "/models/rm");
  CHECK(Json::parse(service.get("/v1/models/combined").body)["kind"] == "reward");
  CHECK(Json::parse(service.get("/rm/safety/info").body)["model_id"] == "safety");
  CHECK(Json::parse(service.get("/info").body)["model_id"] == "combined");
  CHECK(service.get("/rm/safety/health").status == 200);
}

TEST_CASE("service: every path of the OpenAPI document is one of the service's, and takes the document's methods alone", "[serve]") {
  ServiceConfig config;
  config.embeddings = true;
  Asking service(config);
  const Json paths = Json::parse(openapi_json(true))["paths"];
  for (const auto& path : dialects::scoring_paths())
    CHECK(paths.contains(path));
  for (const auto& [path, operations] : paths.items()) {
    INFO(path);
    std::string there = path;
    if (const size_t name = there.find("{name}"); name != std::string::npos) there.replace(name, 6, "safety");
    std::vector<std::string> documented;
    if (operations.contains("get")) documented = {"GET", "HEAD"};
    if (operations.contains("post")) documented.emplace_back("POST");
    CHECK(dialects::methods_of(dialects::target_of(there)) == documented);
    if (operations.contains("get")) CHECK(service.get(there).status == 200);
    const int status = there.ends_with("/v1/logprobs") ? 400 : service.post(there, "{}").status;
    if (operations.contains("post")) CHECK((status == 400 || status == 422));  // it misses its members
  }
}

TEST_CASE("service: while the queue is full /readyz says 503, /livez and /health 200", "[serve]") {
  ServiceConfig config;
  config.queue.queued_texts = 2;
  Asking service(config, {}, false);
  CHECK(service.get("/readyz").status == 200);
  std::vector<std::future<http::Reply>> waiting;
  for (int i = 0; i < 2; ++i)
    waiting.push_back(service.begin(request_of("POST", "/predict", R"({"inputs": "x"})")));
  CHECK(service.post("/predict", R"({"inputs": "x"})").status == 429);
  const auto ready = service.get("/readyz");
  CHECK((ready.status == 503 && header(ready, "Retry-After") == "1"));
  for (const char* path : {"/livez", "/health", "/ping"})
    CHECK(service.get(path).status == 200);
  CHECK_THAT(service.get("/metrics").body, ContainsSubstring("\nkeel_serve_ready 0\n") && ContainsSubstring("\nkeel_serve_inflight 2\n"));
  service.open();
  for (auto& one : waiting)
    CHECK(one.get().status == 200);
  bool again = false;
  for (int i = 0; i < 500 && !again; ++i) {
    again = service.get("/readyz").status == 200;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  CHECK(again);
}

TEST_CASE("service: replies of any form say how many texts were cut, what is cut, and where the models come from", "[serve]") {
  Asking service;
  const std::string is_long = "\"" + std::string(100, 'x') + "\"";
  const auto reply = service.post("/get_reward", "{\"query\": [\"a\", " + is_long + "]}");
  CHECK((header(reply, "x-truncated") == "1" && header(reply, "x-truncation") == "keep_end"));
  CHECK(header(reply, "x-model-sha") == "digest-helpfulness+digest-safety");
  CHECK(Json::parse(header(reply, "x-lineage"))["safety"]["stage"] == "reward");
  CHECK_THAT(reply.body, ContainsSubstring("\"rewards\":[1.0,1.0]") && ContainsSubstring("\"safety_decides\":[0.0,0.0]"));
  const auto refusing = service.post("/rm/safety/predict", R"({"inputs": "x", "truncate": false})");
  CHECK((header(refusing, "x-truncated") == "0" && header(refusing, "x-truncation") == "refuse"));
  CHECK(header(refusing, "x-lineage") == R"({"kind":"safety\n\u00e4","stage":"reward"})");  // in ASCII, on one line
  CHECK(header(service.post("/classify", "{\"input\": " + is_long + ", \"truncation_side\": \"right\"}"), "x-truncation") == "keep_start");
  const Json own = service.posted("/v1/reward", "{\"input\": " + is_long + "}");
  CHECK((own["data"][0]["truncated"] == true && own["data"][0]["reward"] == 1.0 && own["usage"]["prompt_tokens"] == 64));
  CHECK(own["timings"]["total_ms"].get<double>() >= own["timings"]["inference_ms"].get<double>());
}

TEST_CASE("service: pages of other sites may not ask without a key", "[serve]") {
  const test::TemporaryFolder folder;
  test::write_text(folder / "keys", "abcdefgh-12345678\n");
  const auto cross = [](const std::string& site, const std::string& key = {}) {
    return request_of("POST", "/classify", R"({"input": "x"})", site, key);
  };
  Asking open, guarded({}, folder / "keys");
  CHECK(open.ask(cross("cross-site")).status == 403);
  for (const char* site : {"", "same-origin", "same-site", "none"})
    CHECK(open.ask(cross(site)).status == 200);
  CHECK(open.ask(request_of("GET", "/livez", "", "cross-site")).status == 200);
  CHECK(guarded.ask(cross("cross-site")).status == 401);
  CHECK(guarded.ask(cross("cross-site", "abcdefgh-12345678")).status == 200);
  for (const char* path : {"//livez", "/livez/", "/readyz//"})
    CHECK(guarded.get(path).status == 200);
  for (const char* path : {"//metrics", "/livez/x", "/rm/safety/health", "/rm/safety/", "/livez/../metrics"})
    CHECK(guarded.get(path).status == 401);
}

TEST_CASE("service: /tokenize gives the ids that the models read, uncut, with their places", "[serve]") {
  Asking service;
  CHECK(service.posted("/tokenize", R"({"inputs": "hi"})") == Json::parse(R"([[
      {"id": 256, "text": "<s>", "special": true, "start": null, "stop": null},
      {"id": 104, "text": "h", "special": false, "start": 0, "stop": 1},
      {"id": 105, "text": "i", "special": false, "start": 1, "stop": 2}]])"));
  CHECK(service.posted("/rm/safety/tokenize", R"({"inputs": ["a", "b"], "add_special_tokens": false})").size() == 2);
  const Json ids = service.posted("/tokenize", R"({"prompt": "hi", "model": "safety", "return_token_strs": true})");
  CHECK(ids == Json::parse(R"({"count": 3, "max_model_len": 64, "tokens": [256, 104, 105], "token_strs": ["<s>", "h", "i"]})"));
  CHECK(service.posted("/tokenize", "{\"prompt\": \"" + std::string(100, 'x') + "\"}")["count"] == 101);
  const auto chat = [&](const char* messages) {
    return service.posted("/tokenize", "{\"messages\": " + std::string(messages) + "}")["tokens"];
  };
  const Json prompt = chat(R"([{"role": "user", "content": "q"}])"),
             whole = chat(R"([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}])");
  CHECK(prompt.size() < whole.size());
  CHECK(std::equal(prompt.begin(), prompt.end(), whole.begin()));
  CHECK(service.post("/tokenize", R"({"inputs": ""})").status == 400);
  CHECK(service.post("/tokenize", R"({"prompt": 1})").status == 400);
  CHECK(service.post("/tokenize", R"({"prompt": "x", "model": "nobody"})").status == 404);
  CHECK(service.post("/tokenize", R"({"messages": [{"role": "user", "content": "<|im_end|>"}]})").status == 400);
}

TEST_CASE("tokens: places of merged pieces; parts of a character share its place", "[serve]") {
  const test::ByteTokenizer tokenizer({"hello", " wo"});
  const std::string text = "hello world";
  const auto tokens = placed_tokens(tokenizer, tokenizer.encode(text), text);
  REQUIRE(tokens.size() == 5);
  CHECK((tokens[0].text == "hello" && tokens[0].begin == 0 && tokens[0].end == 5));
  CHECK((tokens[1].text == " wo" && tokens[1].begin == 5 && tokens[1].end == 8));
  CHECK((tokens[4].begin == 10 && tokens[4].end == 11));
  const std::string character = "h\xc3\xb6i";
  const auto parts = placed_tokens(tokenizer, {104, 33, 34, 105, 33}, character + "!?");  // 33 and 34 stand for its bytes
  CHECK((parts[0].begin == 0 && parts[3].begin == 3 && parts[4].begin == 4));
  for (const size_t i : {1, 2})
    CHECK((parts[i].begin == 1 && parts[i].end == 3 && parts[i].text == "\xc3\xb6"));
  const auto last = placed_tokens(tokenizer, {104, 33, 34}, "h\xc3\xb6");
  CHECK((last[1].begin == 1 && last[2].end == 3));
  for (const auto& token : placed_tokens(tokenizer, {104, 33}, {}))
    CHECK_FALSE(token.begin);
}

TEST_CASE("service: too many bytes of bodies are an overload, told as one in each family; counters are there from the start", "[serve]") {
  Asking service;
  CHECK(service.service.refuse_unread(503, "/predict", "many").status == 429);
  CHECK(Json::parse(service.service.refuse_unread(503, "/rm/safety/", "many").body)["error_type"] == "Overloaded");
  CHECK(service.service.refuse_unread(503, "/classify", "many").status == 503);
  CHECK(service.service.refuse_unread(413, "/predict", "long").status == 413);
  CHECK_THAT(service.get("/metrics").body,
             ContainsSubstring("keel_serve_sequences_total{model=\"safety\"} 0\n") &&
                 ContainsSubstring("keel_serve_score_count{model=\"combined\"} 0\n") &&
                 ContainsSubstring("keel_serve_requests_total{path=\"/get_reward\",model=\"combined\",code=\"200\"} 0\n") &&
                 ContainsSubstring("keel_serve_inflight 0\n"));
}

}  // namespace keel::serve
