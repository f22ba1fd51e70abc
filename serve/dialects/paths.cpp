#include "serve/dialects/paths.h"

#include <map>
#include <nlohmann/json.hpp>

#include "serve/dialects/fields.h"

namespace keel::serve::dialects {
namespace {

const std::string kModels = "/v1/models/", kNamed = "/rm/";

const std::map<std::string, Target>& targets() {
  static const std::map<std::string, Target> all = [] {
    std::map<std::string, Target> map;
    const auto post = [&](Dialect dialect, Family family, const std::vector<std::string>& paths) {
      for (const auto& path : paths)
        map[path] = {.path = path, .model = {}, .dialect = dialect, .family = family, .get = false};
    };
    post(Dialect::trainer, Family::trainer, {"/get_reward"});
    post(Dialect::llama_factory, Family::trainer, {"/v1/score/evaluation"});
    post(Dialect::reward, Family::trainer, {"/v1/reward"});
    post(Dialect::logprobs, Family::trainer, {"/v1/logprobs"});
    post(Dialect::classify, Family::vllm, {"/classify", "/v1/classify"});
    post(Dialect::score, Family::vllm, {"/score", "/v1/score"});
    post(Dialect::rerank, Family::vllm, {"/rerank", "/v1/rerank", "/v2/rerank"});
    post(Dialect::pooling, Family::vllm, {"/pooling"});
    post(Dialect::embeddings, Family::vllm, {"/v1/embeddings"});
    post(Dialect::predict, Family::tei, {"/predict", "/", "/invocations"});
    post(Dialect::tokenize, Family::vllm, {"/tokenize"});
    for (const char* path :
         {"/", "/health", "/ping", "/livez", "/readyz", "/metrics", "/info", "/version", "/load", "/v1/models", "/openapi.json"})
      map[path].path = path, map[path].get = true;
    map["/info"].family = Family::tei;
    map["/v1/models"].family = Family::vllm;
    return map;
  }();
  return all;
}

// What follows the name of a model: a path that takes POST, or one of TEI's that a client asks of each model.
bool follows_name(const std::string& path, const Target& target) {
  return path == "/info" || path == "/health" || (target.dialect != Dialect::none && path != "/");
}

// Names hold slashes, which clients may escape.
std::string unescaped(std::string name) {
  for (const char* slash : {"%2F", "%2f"})
    for (size_t at = name.find(slash); at != std::string::npos; at = name.find(slash))
      name.replace(at, 3, "/");
  return name;
}

Target named(const std::string& path, const std::string& model) {
  Target target = targets().at(path);
  target.model = unescaped(model);
  return target;
}

}  // namespace

std::string normal_path(const std::string& path) {
  std::string normal;
  for (const char c : path)
    if (c != '/' || !normal.ends_with('/')) normal += c;
  if (normal.size() > 1 && normal.ends_with('/')) normal.pop_back();
  return normal;
}

Target target_of(const std::string& path) {
  if (path.starts_with(kModels)) {
    Target target = named("/v1/models", path.substr(kModels.size()));
    target.path = kModels + "NAME";
    return target;
  }
  if (path.starts_with(kNamed)) {  // the longest path that follows a name; the name alone stands for TEI's root
    std::string rest = "/";
    for (const auto& [known, target] : targets())
      if (follows_name(known, target) && path.size() > kNamed.size() + known.size() && path.ends_with(known) && known.size() > rest.size())
        rest = known;
    const size_t end = rest == "/" ? path.size() : path.size() - rest.size();
    Target target = named(rest, path.substr(kNamed.size(), end - kNamed.size()));
    target.get = rest == "/info" || rest == "/health";
    return target;
  }
  const auto found = targets().find(path);
  return found == targets().end() ? Target{} : found->second;
}

bool is_public(const std::string& path) {
  return path == "/health" || path == "/ping" || path == "/livez" || path == "/readyz";
}

std::vector<std::string> methods_of(const Target& target) {
  std::vector<std::string> methods;
  if (target.get) methods = {"GET", "HEAD"};
  if (target.dialect != Dialect::none) methods.emplace_back("POST");
  return methods;
}

std::vector<std::string> scoring_paths() {
  std::vector<std::string> paths;
  for (const auto& [path, target] : targets())
    if (target.dialect != Dialect::none) paths.push_back(path);
  return paths;
}

Family family_of(const Target& target, const Json& body) {
  if (target.dialect == Dialect::rerank) return has(body, "texts") ? Family::tei : Family::vllm;
  if (target.dialect == Dialect::tokenize) return has(body, "inputs") ? Family::tei : Family::vllm;
  return target.family;
}

Asked read_request(const Target& target, const Json& body) {
  switch (target.dialect) {
    case Dialect::trainer:
      return trainer_request(body);
    case Dialect::llama_factory:
      return llama_factory_request(body);
    case Dialect::reward:
      return reward_request(body);
    case Dialect::classify:
      return classify_request(body);
    case Dialect::score:
      return score_request(body);
    case Dialect::pooling:
      return pooling_request(body);
    case Dialect::embeddings:
      return embeddings_request(body);
    case Dialect::predict:
      return predict_request(body);
    case Dialect::logprobs:
      return logprobs_request(body);
    case Dialect::rerank:
      return target.family == Family::tei ? tei_rerank_request(body) : rerank_request(body);
    case Dialect::tokenize:
      return target.family == Family::tei ? tei_tokenize_request(body) : tokenize_request(body);
    case Dialect::none:
      break;
  }
  throw Refused(Trouble::unknown, "there is nothing at this path");
}

}  // namespace keel::serve::dialects
