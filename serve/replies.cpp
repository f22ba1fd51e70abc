// The replies of the service: scores and what goes with them, in the form that the dialect writes.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <random>

#include "serve/dialects/body.h"
#include "serve/request.h"
#include "serve/routes.h"

namespace keel::serve {
namespace {

using dialects::Dialect;
using dialects::Overlong;
using nlohmann::json;
using Clock = std::chrono::steady_clock;

constexpr size_t kLongestHeader = 2048;

std::string new_id() {
  static thread_local std::mt19937_64 random{std::random_device{}()};
  return fmt::format("{:016x}{:016x}", random(), random());
}

int64_t now_in_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

double milliseconds(Clock::duration time) {
  return std::chrono::duration<double, std::milli>(time).count();
}

// What becomes of a text over the limit: "drop_oldest_turns, keep_end".
std::string truncation_of(const std::vector<std::shared_ptr<const ServedModel>>& models, Overlong overlong) {
  const bool drops = std::ranges::any_of(models, [](const auto& model) { return model->limit.drop_oldest_turns; });
  const char* rest = overlong == Overlong::refuse ? "refuse" : overlong == Overlong::keep_start ? "keep_start" : "keep_end";
  return drops && overlong != Overlong::refuse ? fmt::format("drop_oldest_turns, {}", rest) : rest;
}

// As JSON in ASCII, of several models by name; "" for one too long for a header: /info has it.
std::string lineage_of(const std::vector<std::shared_ptr<const ServedModel>>& models) {
  json lineage = json::object();
  for (const auto& model : models)
    lineage[model->name] = model->metadata.value("lineage", json());
  if (models.size() == 1) lineage = json(lineage.front());
  const std::string text = lineage.dump(-1, ' ', true, json::error_handler_t::replace);
  return text.size() > kLongestHeader ? std::string() : text;
}

std::string logprobs_json(const std::string& model, const json& metadata, const std::string& digest, const json& rows) {
  return dialects::reply_body(
      {{"id", "logprobs-" + new_id()}, {"model", model}, {"model_sha", digest}, {"metadata", metadata}, {"data", rows}});
}

}  // namespace

http::Reply Service::reply_to(Request& request, std::vector<Values>& values) {
  const auto begun = request.job->begun;
  const auto timings_at = [&](Clock::time_point now) -> dialects::Timings {
    return {.tokenization = milliseconds(request.prepared - request.received),
            .queue = milliseconds(begun - request.prepared),
            .inference = milliseconds(now - begun),
            .total = milliseconds(now - request.received)};
  };
  metrics_.observe("queue_seconds", std::chrono::duration<double>(begun - request.prepared).count());
  http::Reply reply;
  if (request.target.dialect == Dialect::logprobs) {
    json rows = json::array();
    for (size_t i = 0; i < values.size(); ++i) {
      const auto& ids = request.job->rows[i].ids;
      json logprobs = json::array(), tokens = json::array();
      for (size_t t = 1; t < ids.size(); ++t)
        if (request.masks[i][t]) logprobs.push_back(values[i][t - 1]), tokens.push_back(ids[t]);
      rows.push_back({{"index", i}, {"ids", tokens}, {"logprobs", logprobs}});
    }
    reply.body = logprobs_json(request.model, metadata_of(request.models), digest_of(request.models), rows);
  } else {
    if (!request.asked.lists_tokens) fill_scores(request, values);
    reply.body = scores_json(request, timings_at(Clock::now()));
  }
  int64_t tokens = 0;
  for (const auto& score : request.scores)
    tokens += score.tokens;
  const auto truncated = std::ranges::count_if(request.scores, &dialects::Score::truncated);
  const dialects::Timings timings = timings_at(Clock::now());
  const auto whole = [](double time) { return std::to_string(static_cast<int64_t>(time)); };
  reply.headers = {{"x-compute-type", "cpu"},
                   {"x-compute-tokens", std::to_string(tokens)},
                   {"x-compute-characters", std::to_string(request.characters)},
                   {"x-compute-time", whole(timings.total)},
                   {"x-total-time", whole(timings.total)},
                   {"x-tokenization-time", whole(timings.tokenization)},
                   {"x-queue-time", whole(timings.queue)},
                   {"x-inference-time", whole(timings.inference)},
                   {"x-model-sha", digest_of(request.models)},
                   {"x-truncated", std::to_string(truncated)},
                   {"x-truncation", truncation_of(request.models, request.asked.overlong)}};
  if (const auto lineage = lineage_of(request.models); !lineage.empty()) reply.headers.emplace_back("x-lineage", lineage);
  return reply;
}

// From the values of the models, one of each model a text.
void Service::fill_scores(Request& request, std::vector<Values>& values) {
  const size_t models = request.models.size();
  const std::string label = fmt::format("model=\"{}\"", request.model);
  for (size_t i = 0; i < request.scores.size(); ++i) {
    dialects::Score& score = request.scores[i];
    score.raw = values[i * models].at(0);
    if (models == 2) {
      const double helpfulness = values[i * models].at(0), safety = values[i * models + 1].at(0);
      const bool decides = reward::safety_decides(safety, request.asked.items[i].hazard, request.set->gate);
      score.combined = {.helpfulness = helpfulness, .safety = safety, .safety_decides = decides};
      score.raw = decides ? safety : helpfulness;
    }
    metrics_.observe("score", score.raw, label);
  }
  metrics_.count("sequences_total", label, static_cast<double>(request.scores.size()));
  metrics_.count("tokens_total", label, static_cast<double>(request.tokens));
}

std::string Service::scores_json(Request& request, const dialects::Timings& timings) const {
  int64_t most = request.models.front()->most_tokens;
  for (const auto& model : request.models)
    most = std::min(most, model->most_tokens);
  dialects::Scored scored{.model = request.model,
                          .digest = digest_of(request.models),
                          .id = new_id(),
                          .created = now_in_seconds(),
                          .gate = request.set->gate.gate_threshold,
                          .metadata = metadata_of(request.models),
                          .timings = timings,
                          .most_tokens = most,
                          .scores = std::move(request.scores)};
  std::string text = dialects::reply_body(request.asked.reply(scored));
  request.scores = std::move(scored.scores);
  return text;
}

}  // namespace keel::serve
