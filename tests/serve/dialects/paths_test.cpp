#include "serve/dialects/paths.h"

#include "core/json.h"
#include "support/test_plain.h"

namespace keel::serve::dialects {

TEST_CASE("paths: several slashes are one, and none stands at the end", "[serve]") {
  for (const auto& [path, normal] : std::vector<std::pair<const char*, const char*>>{{"/", "/"},
                                                                                     {"//", "/"},
                                                                                     {"/get_reward", "/get_reward"},
                                                                                     {"/get_reward/", "/get_reward"},
                                                                                     {"//get_reward//", "/get_reward"},
                                                                                     {"/rm//safety///classify", "/rm/safety/classify"}})
    CHECK(normal_path(path) == normal);
}

TEST_CASE("paths: what each takes; a name before it chooses the model", "[serve]") {
  using Methods = std::vector<std::string>;
  const auto methods = [](const char* path) { return methods_of(target_of(path)); };
  for (const auto& path : scoring_paths()) {
    CHECK(target_of(path).model.empty());
    CHECK(methods(path.c_str()) == (path == "/" ? Methods{"GET", "HEAD", "POST"} : Methods{"POST"}));
    const Target named = target_of(path == "/" ? "/rm/a/b" : "/rm/a/b" + path);
    CHECK((named.model == "a/b" && named.path == path && methods_of(named) == Methods{"POST"}));
  }
  CHECK((target_of("/rm/safety").dialect == Dialect::predict && target_of("/rm/safety").family == Family::tei));
  CHECK((target_of("/rm/safety/v1/classify").path == "/v1/classify" && target_of("/rm/safety/v1/classify").model == "safety"));
  CHECK(target_of("/rm/a%2Fb/predict").model == "a/b");
  for (const char* path : {"/rm/safety/info", "/rm/safety/health"}) {
    CHECK(methods(path) == Methods{"GET", "HEAD"});
    CHECK(target_of(path).model == "safety");
  }
  for (const char* model : {"/v1/models/a/b", "/v1/models/a%2fb"}) {
    CHECK(methods(model) == Methods{"GET", "HEAD"});
    CHECK((target_of(model).model == "a/b" && target_of(model).path == "/v1/models/NAME"));
  }
  for (const char* path : {"/nothing", "/rm", "/rmx", "/v1", "/getreward", ""})
    CHECK(methods(path).empty());
  CHECK((is_public("/livez") && !is_public("/rm/safety/health") && !is_public("/metrics")));
}

TEST_CASE("paths: the body says whose form it has where the path does not", "[serve]") {
  const auto family = [](const char* path, const char* body) { return family_of(target_of(path), core::parse_json(body, "test")); };
  CHECK(family("/rerank", R"({"texts": []})") == Family::tei);
  CHECK(family("/rerank", R"({"documents": []})") == Family::vllm);
  CHECK(family("/tokenize", R"({"inputs": ""})") == Family::tei);
  CHECK(family("/tokenize", R"({"prompt": ""})") == Family::vllm);
  CHECK(family("/get_reward", R"({"texts": []})") == Family::trainer);
  Target tokenize = target_of("/rm/safety/tokenize");
  tokenize.family = Family::tei;
  CHECK(read_request(tokenize, core::parse_json(R"({"inputs": "a"})", "test")).lists_tokens);
  CHECK_THROWS_AS(read_request(Target{}, {}), Refused);
}

}  // namespace keel::serve::dialects
