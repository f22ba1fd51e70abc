#include "inference/remote_reward.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/json.h"
#include "runtime/dist/ranks.h"

namespace keel::inference {
namespace {

using nlohmann::json;

constexpr const char* kKeyVariable = "KEEL_SERVE_KEY";
constexpr std::chrono::seconds kPatience{600};  // for one reply, over all attempts
constexpr size_t kTextsARequest = 256, kBytesARequest = 1 << 20;

bool worth_repeating(int status) {
  return status == 408 || status == 429 || status >= 500;
}

}  // namespace

bool is_remote(const std::filesystem::path& model) {
  return model.string().starts_with("http://") || model.string().starts_with("https://");
}

RewardClient::RewardClient(const std::string& address) : address_(address) {
  if (const size_t at = address.find("/rm/"); at != std::string::npos) {
    address_ = address.substr(0, at);
    name_ = address.substr(at + 4);
  }
  url_ = http::parse_url(address_);
  const json models = reply("/v1/models", nullptr).value("data", json::array());
  const json* found = nullptr;
  for (const json& model : models)
    if (found == nullptr && (name_.empty() || model.value("id", "") == name_) && model.value("kind", "") == "reward") found = &model;
  if (found == nullptr)
    throw core::UsageError(
        fmt::format("{} holds no reward model \"{}\": GET {}/v1/models names those that it has", address_, name_, address_));
  name_ = found->at("id");
  digest_ = found->at("sha");
  const json info = reply("/info", nullptr).value("keel", json::object());
  most_texts_ = std::min<size_t>(kTextsARequest, info.value("max_texts", size_t{1}));
  metadata_ = std::make_shared<const json>(info.value("models", json::object()).value(name_, json()));
}

http::Answer RewardClient::request(const std::string& path, const std::string* body) const {
  const auto headers = http::bearer_headers(kKeyVariable);
  http::Url url = url_;
  url.path += path;
  std::string failure;
  int64_t retry_after = 0;
  const auto begin = std::chrono::steady_clock::now();
  for (int64_t attempt = 0;; ++attempt) {
    const auto left = std::chrono::duration_cast<std::chrono::seconds>(begin + kPatience - std::chrono::steady_clock::now()).count();
    if (left <= 0) break;
    if (attempt > 0) http::wait_before_retry(attempt, std::exchange(retry_after, 0));
    core::stop_if_interrupted("scoring by a service");
    try {
      http::Answer answer = body == nullptr ? http::get(url, headers, left) : http::post(url, *body, headers, left);
      if (!worth_repeating(answer.status)) return answer;
      retry_after = answer.retry_after;
      failure = fmt::format("{}{} answers with status {}", address_, path, answer.status);
    } catch (const core::IoError& error) {
      failure = error.what();
      if (body == nullptr && attempt >= 3) break;  // nothing has begun: a wrong address should be told soon
    }
  }
  throw core::IoError(fmt::format("no score from {}: {}", address_, failure));
}

json RewardClient::reply(const std::string& path, const std::string* body) const {
  const http::Answer answer = request(path, body);
  if (answer.status != 200)
    throw core::UsageError(fmt::format("{}{} refuses the request with status {}: {}{}", address_, path, answer.status,
                                       answer.body.substr(0, 300), answer.status == 401 ? fmt::format("; set {}", kKeyVariable) : ""));
  json parsed;
  try {
    parsed = core::parse_json(answer.body, address_ + path);
  } catch (const core::DataError&) {  // told below
  }
  if (!parsed.is_object())
    throw core::IoError(fmt::format("{}{} answers with something else than a JSON object: is it keel serve?", address_, path));
  return parsed;
}

std::vector<json> RewardClient::ask(const std::vector<json>& inputs, const std::string& overlong) const {
  std::vector<json> rows;
  for (size_t begin = 0; begin < inputs.size(); begin = rows.size()) {
    size_t end = begin;
    for (size_t bytes = 0; end < inputs.size() && end - begin < most_texts_ && (end == begin || bytes < kBytesARequest); ++end)
      bytes += core::dump_json(inputs[end]).size();
    const std::string body = core::dump_json({{"model", name_},
                                              {"overlong", overlong},
                                              {"inputs", std::vector<json>(inputs.begin() + static_cast<std::ptrdiff_t>(begin),
                                                                           inputs.begin() + static_cast<std::ptrdiff_t>(end))}});
    const json answered = reply("/v1/reward", &body);
    if (answered.value("model_sha", "") != digest_)
      throw core::UsageError(
          fmt::format("{} has loaded another model \"{}\" since this work began; give the command again", address_, name_));
    const json data = answered.value("data", json::array());
    const auto scored = [](const json& row) { return row.is_object() && row.contains("score") && row.at("score").is_number(); };
    if (data.size() != end - begin || !std::ranges::all_of(data, scored))
      throw core::IoError(fmt::format("{} gave {} scores for {} texts", address_, std::ranges::count_if(data, scored), end - begin));
    rows.insert(rows.end(), data.begin(), data.end());
  }
  return rows;
}

std::vector<double> RewardClient::score(const std::vector<core::Ids>& rows) const {
  return runtime::dist::by_parts<double>(rows, [&](const std::vector<core::Ids>& part) {
    std::vector<json> inputs;
    for (const auto& ids : part)
      inputs.push_back({{"ids", ids}});
    std::vector<double> scores;
    for (const json& row : ask(inputs))
      scores.push_back(static_cast<float>(row.at("score").get<double>()));
    return scores;
  });
}

}  // namespace keel::inference
