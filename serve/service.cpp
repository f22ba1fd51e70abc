#include "serve/service.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "core/json.h"
#include "core/log.h"
#include "core/version.h"
#include "data/text.h"
#include "serve/dialects/body.h"
#include "serve/dialects/dialects.h"
#include "serve/dialects/paths.h"
#include "serve/openapi.h"
#include "serve/page.h"
#include "serve/request.h"
#include "serve/routes.h"
#include "serve/tokens.h"

namespace keel::serve {
namespace {

using dialects::Dialect;
using dialects::Family;
using dialects::Refused;
using dialects::Target;
using dialects::Trouble;
using nlohmann::json;
using Clock = std::chrono::steady_clock;

constexpr int64_t kTextsATurn = 64, kBytesATurn = 1 << 16;  // tokenised before another request has its turn
constexpr int64_t kBytesAToken = 4;                         // estimate, until the tokens are counted
constexpr const char* kNoModel = "there is no such model; GET /v1/models names them";

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

http::Reply refusal(int status, std::string body) {
  http::Reply reply{.status = status, .body = std::move(body)};
  if (status == 503 || status == 429) reply.headers.emplace_back("Retry-After", "1");
  if (status == 401)  // a header each: browsers read one challenge a line
    reply.headers.insert(reply.headers.end(), {{"WWW-Authenticate", "Basic realm=\"keel\""}, {"WWW-Authenticate", "Bearer"}});
  return reply;
}

http::Reply refusal(Trouble trouble, Family family, const std::string& reason) {
  return refusal(status_of(trouble, family), dialects::error_body(family, trouble, reason));
}

// Without parameters, in lower case.
std::string media_type(const std::string& header) {
  std::string type(data::strip(header.substr(0, header.find(';'))));
  std::ranges::transform(type, type.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return type;
}

bool holds_member(const std::string& body, const char* name) {
  return body.find(name) != std::string::npos;
}

// The texts of an item.
std::vector<const std::string*> texts_of(const dialects::Item& item) {
  std::vector<const std::string*> texts;
  if (const auto* plain = std::get_if<dialects::PlainText>(&item.content)) texts = {&plain->text};
  if (const auto* rendered = std::get_if<dialects::RenderedText>(&item.content)) texts = {&rendered->text};
  if (const auto* pair = std::get_if<dialects::PromptAndAnswer>(&item.content)) texts = {&pair->prompt, &pair->answer};
  if (const auto* pair = std::get_if<dialects::RenderedPrompt>(&item.content)) texts = {&pair->prompt, &pair->answer};
  if (const auto* dialogue = std::get_if<core::Dialogue>(&item.content))
    for (const auto& message : dialogue->messages)
      texts.push_back(&message.content);
  return texts;
}

int64_t bytes_of(const dialects::Item& item) {
  int64_t bytes = 0;
  for (const std::string* text : texts_of(item))
    bytes += std::ssize(*text);
  return bytes;
}

int64_t characters_of(const std::vector<dialects::Item>& items) {
  int64_t characters = 0;
  for (const auto& item : items)
    for (const std::string* text : texts_of(item))
      characters += std::ranges::count_if(*text, [](char c) { return (c & 0xC0) != 0x80; });
  return characters;
}

}  // namespace

Service::Request::Request(Service& of, http::Request whole, http::Respond respond_once)
    : service(of), engine(of.engine_), http(std::move(whole)), respond(std::move(respond_once)), target(dialects::target_of(http.path)) {
  job->gone = http.gone;
  // The body decides (parse()), but one that is no JSON is refused in somebody's form, too.
  if (target.dialect == Dialect::rerank && holds_member(http.body, "\"texts\"")) target.family = Family::tei;
  if (target.dialect == Dialect::tokenize && holds_member(http.body, "\"inputs\"")) target.family = Family::tei;
  const std::lock_guard lock(service.mutex_);
  service.requests_.insert(this);
}

Service::Request::~Request() {
  if (!answered.exchange(true) && !http.gone->load()) respond(refusal(Trouble::model, target.family, "the request was lost"));
  engine.release(texts - job->released_texts, tokens - job->released_tokens);
  const std::lock_guard lock(service.mutex_);
  service.requests_.erase(this);
}

bool Service::Request::reserve(int64_t more_texts, int64_t more_tokens) {
  if (!engine.reserve(more_texts - texts, more_tokens - tokens, texts)) return false;
  texts = more_texts, tokens = more_tokens;
  return true;
}

Service::Service(const ServiceConfig& config, std::string key_file)
    : config_(config),
      key_file_(std::move(key_file)),
      keys_(std::make_shared<const Keys>()),
      engine_(config.queue, [this](const Batch& batch) {
        metrics_.observe("forward_seconds", batch.seconds);
        metrics_.observe("batch_sequences", static_cast<double>(batch.rows));
        metrics_.observe("batch_padding_ratio",
                         static_cast<double>(batch.padded_tokens) / static_cast<double>(std::max<int64_t>(1, batch.tokens)));
        metrics_.observe("batch_tokens", static_cast<double>(batch.tokens));
      }) {
  read_keys();
}

Service::~Service() {  // each of the two threads hands work to the other
  engine_.stop();
  preparer_.stop();
}

void Service::read_keys() {
  if (key_file_.empty()) return;
  auto keys = std::make_shared<const Keys>(key_file_);
  const std::lock_guard lock(mutex_);
  keys_ = std::move(keys);
}

void Service::measure() const {
  const http::Counts counts = counts_();
  metrics_.set("connections", static_cast<double>(counts.connections));
  metrics_.total("accepted_total", static_cast<double>(counts.accepted));
  metrics_.total("answered_total", static_cast<double>(counts.answered));
  metrics_.total("disconnected_total", static_cast<double>(counts.disconnected));
  metrics_.set("ready", takes_work() ? 1 : 0);
  {
    const std::lock_guard lock(mutex_);
    const auto inflight = std::ranges::count_if(requests_, [](const Request* request) { return !request->answered; });
    metrics_.set("inflight", static_cast<double>(inflight));
  }
  metrics_.set("queue_sequences", static_cast<double>(engine_.queued_texts()));
  metrics_.set("queue_tokens", static_cast<double>(engine_.queued_tokens()));
}

void Service::use(std::shared_ptr<const ModelSet> models) {
  metrics_.clear("model_info");
  for (const auto& list : {models->rewards, models->policies})
    for (const auto& model : list)
      metrics_.set("model_info", 1, fmt::format("model=\"{}\",sha=\"{}\"", model->name, model->digest));
  for (const auto& path : dialects::scoring_paths())
    if (const Dialect dialect = dialects::target_of(path).dialect;
        dialect != Dialect::logprobs && (dialect != Dialect::embeddings || config_.embeddings))
      metrics_.begin("requests_total", fmt::format("path=\"{}\",model=\"{}\",code=\"200\"", path, models->default_name()));
  for (const auto& name : models->reward_names())
    for (const char* metric : {"sequences_total", "tokens_total", "score"})
      metrics_.begin(metric, fmt::format("model=\"{}\"", name));
  const std::lock_guard lock(mutex_);
  models_ = std::move(models);
}

std::shared_ptr<const ModelSet> Service::models() const {
  const std::lock_guard lock(mutex_);
  return models_;
}

http::Reply Service::refuse_head(int status, const std::string& path, const std::string& reason) const {
  const Target target = dialects::target_of(dialects::normal_path(path));
  metrics_.count("requests_total", fmt::format("path=\"{}\",model=\"\",code=\"{}\"", target.path, status));
  return refusal(status, dialects::error_body(target.family, status, reason));
}

http::Reply Service::refuse_unread(int status, const std::string& path, const std::string& reason) const {
  const Target target = dialects::target_of(dialects::normal_path(path));
  return refuse_head(status == 503 ? dialects::status_of(Trouble::overloaded, target.family) : status, path, reason);
}

std::optional<http::Reply> Service::screen(const http::Request& head) const {
  const std::string path = dialects::normal_path(head.path);
  const Target target = dialects::target_of(path);
  const auto set = models();
  const auto refuse = [&](int status, const std::string& reason) { return refuse_head(status, head.path, reason); };
  std::shared_ptr<const Keys> keys;
  {
    const std::lock_guard lock(mutex_);
    keys = keys_;
  }
  if (!dialects::is_public(path) && !keys->admit(head)) return refuse(401, "a key is needed: Authorization: Bearer KEY, or X-Api-Key: KEY");
  const auto methods = dialects::methods_of(target);
  if (methods.empty() || (target.dialect == Dialect::embeddings && !config_.embeddings))
    return refuse(404, "there is nothing at this path");
  if (set != nullptr && !target.model.empty() && (target.get || target.path == "/") && set->served_name(target.model).empty())
    return refuse(404, kNoModel);
  if (std::ranges::find(methods, head.method) == methods.end()) {
    auto reply = refuse(405, "this path does not take this method");
    reply.headers.emplace_back("Allow", fmt::format("{}", fmt::join(methods, ", ")));
    return reply;
  }
  if (head.method != "POST") return std::nullopt;
  if (head.fetch_site == "cross-site" && head.authorization.empty() && head.api_key.empty())
    return refuse(403, "a page of another site may not ask here without a key");
  const std::string type = media_type(head.content_type);
  if (!type.empty() && type != "application/json" && !type.ends_with("+json")) return refuse(415, "send application/json");
  if (draining_) return refuse(503, "the service is shutting down");
  if (set == nullptr) return refuse(503, "the models are being loaded");
  return std::nullopt;
}

http::Reply Service::get(const http::Request& request) const {
  const Target target = dialects::target_of(request.path);
  const std::string& path = target.path;
  const auto set = models();
  const http::Reply good{.body = "{\"status\":\"ok\"}"};
  if (path == "/livez") return good;
  if (dialects::is_public(path)) {  // or /rm/NAME/health
    if (!ready())
      return refusal(Trouble::ending, Family::trainer, leaving_ ? "the service is shutting down" : "the models are being loaded");
    return path == "/readyz" && !takes_work() ? refusal(Trouble::overloaded, Family::trainer, "the queue is full") : good;
  }
  if (path == "/metrics") {
    measure();
    return {.body = metrics_.text(), .content_type = "text/plain; version=0.0.4; charset=utf-8"};
  }
  if (path == "/version") return {.body = core::dump_json({{"version", core::kVersion}})};
  if (path == "/openapi.json") return {.body = openapi_json(config_.embeddings)};
  if (set == nullptr) return refusal(Trouble::ending, Family::trainer, "the models are being loaded");
  if (path == "/") return {.body = page_html(*set), .content_type = "text/html; charset=utf-8", .headers = page_headers()};
  if (path == "/v1/models") return {.body = core::dump_json(models_json(*set))};
  if (path == "/load") return {.body = core::dump_json({{"server_load", engine_.queued_texts()}})};
  const std::string name = target.model.empty() ? set->default_name() : set->served_name(target.model);
  if (name.empty()) return refusal(Trouble::unknown, target.family, kNoModel);  // not there any more
  if (path != "/info") return {.body = core::dump_json(model_json(*set, name))};
  return {.body = core::dump_json(info_json(*set, name, config_.queue, config_.most_texts, config_.truncation == Truncation::keep_end))};
}

void Service::handle(http::Request received, http::Respond respond) {
  received.path = dialects::normal_path(received.path);
  if (received.method != "POST") return respond(get(received));
  const auto request = std::make_shared<Request>(*this, std::move(received), std::move(respond));
  if (gave_up_) return refuse(*request, Trouble::ending, "the service is shutting down");
  if (!request->reserve(1, 1 + std::ssize(request->http.body) / kBytesAToken))
    return refuse(*request, Trouble::overloaded, "too much work is waiting; try again");
  prepare(request);
}

// Parses, then renders slice by slice, on the preparer's thread; then the engine has it.
void Service::prepare(const std::shared_ptr<Request>& request) {
  preparer_.add([this, request] {
    if (request->http.gone->load()) return false;
    try {
      if (request->set == nullptr) parse(*request);
      if (tokenize_some(*request)) return true;
    } catch (const Refused& refused) {
      refuse(*request, refused.trouble, refused.what());
      return false;
    } catch (const std::exception& error) {
      core::log_error(fmt::format("a request to {} could not be prepared: {}", request->target.path, error.what()));
      refuse(*request, Trouble::model, "the request could not be prepared");
      return false;
    }
    request->prepared = Clock::now();
    metrics_.observe("tokenize_seconds", seconds_since(request->received));
    request->job->finish = [this, request](End end, std::vector<Values> values) { answer(request, end, std::move(values)); };
    engine_.enter(request->job);
    return false;
  });
}

void Service::parse(Request& request) {
  const json body = dialects::parse_body(request.http.body);
  const Family family = request.target.family = dialects::family_of(request.target, body);
  dialects::check_lengths(body,
                          family == Family::tei ? std::min<int64_t>(config_.most_texts, dialects::kMostTeiTexts) : config_.most_texts);
  request.asked = dialects::read_request(request.target, body);
  auto& asked = request.asked;
  request.characters = characters_of(asked.items);
  request.http.body = {};
  const int64_t most = asked.most_items > 0 ? asked.most_items : config_.most_texts;
  const auto texts = std::ssize(asked.items);
  if (texts > most) throw Refused(Trouble::too_many, fmt::format("a request may hold at most {} texts", most));
  if (asked.overlong == dialects::Overlong::own && config_.truncation == Truncation::refuse) asked.overlong = dialects::Overlong::refuse;
  request.set = models();
  choose_model(request);
  if (!request.reserve(std::max<int64_t>(1, texts), request.tokens))
    throw Refused(Trouble::overloaded, "too much work is waiting; try again");
}

// That of the path, or of the body, or the default.
void Service::choose_model(Request& request) {
  const ModelSet& set = *request.set;
  const std::string& in_path = request.target.model;
  request.model = in_path.empty() ? request.asked.model : set.served_name(in_path);
  if (in_path.empty() && request.asked.model_optional && set.behind(request.model).empty()) request.model.clear();
  if (!in_path.empty() && request.model.empty()) throw Refused(Trouble::unknown, kNoModel);
  const bool wants_policy = request.target.dialect == Dialect::logprobs;
  if (!wants_policy) request.models = set.behind(request.model);
  if (wants_policy || (request.asked.lists_tokens && request.models.empty()))
    if (const auto policy = set.policy(request.model); policy != nullptr) request.models = {policy};
  if (request.models.empty()) throw Refused(Trouble::unknown, kNoModel);
  if (request.model.empty()) request.model = wants_policy ? request.models.front()->name : set.default_name();
}

// Renders the next texts; true while there are more.
bool Service::tokenize_some(Request& request) {
  const auto end = std::min(request.asked.items.size(), request.rendered + kTextsATurn);
  for (int64_t bytes = 0; request.rendered < end && bytes < kBytesATurn; ++request.rendered) {
    const auto& item = request.asked.items[request.rendered];
    bytes += bytes_of(item);
    if (bytes_of(item) > config_.most_text_bytes)
      throw Refused(Trouble::overlong, fmt::format("a text is longer than {} bytes", config_.most_text_bytes));
    dialects::Score& score = request.scores.emplace_back();
    if (request.asked.lists_tokens) {
      score.listed = listed_tokens(*request.models.front(), item);
      score.tokens = std::ssize(score.listed);
      continue;
    }
    for (const auto& model : request.models) {
      Rendered rendered;
      if (request.target.dialect == Dialect::logprobs) {
        auto sequence = sequence_of(*model, item);
        request.masks.push_back(std::move(sequence.loss_mask));
        rendered.ids = std::move(sequence.ids);
      } else {
        rendered = render(*model, item, request.asked);
      }
      score.tokens = std::max(score.tokens, std::ssize(rendered.ids));
      score.truncated = score.truncated || rendered.truncated;
      score.cut = score.cut || rendered.cut;
      if (request.asked.with_tokens && score.pieces.empty()) {
        for (const int64_t id : rendered.ids)
          score.pieces.push_back(model->tokenizer->decode({id}));
        score.answer_tokens = rendered.answer_tokens;
      }
      request.job->rows.push_back({.model = model->forward, .ids = std::move(rendered.ids)});
    }
    metrics_.count("truncated_total", {}, score.truncated ? 1 : 0);
  }
  if (request.rendered < request.asked.items.size()) return true;
  int64_t tokens = 0;
  for (const Row& row : request.job->rows)
    tokens += std::ssize(row.ids);
  request.engine.release(0, request.tokens - tokens);
  request.tokens = tokens;
  request.job->texts = request.texts;
  return false;
}

// The model's values become scores, and these the reply. On the preparer's thread again: the engine goes on with the next batch.
void Service::answer(const std::shared_ptr<Request>& request, End end, std::vector<Values> values) {
  const auto shared = std::make_shared<std::vector<Values>>(std::move(values));
  preparer_.add_first([this, request, end, shared] {
    if (end == End::expired) {
      refuse(*request, Trouble::overloaded, "the request waited too long; try again");
    } else if (end == End::failed) {
      refuse(*request, Trouble::model, "the model failed");
    } else if (end == End::not_finite) {
      metrics_.count("nonfinite_total");
      refuse(*request, Trouble::model, "score is NaN");
    } else {
      try {
        finish(*request, reply_to(*request, *shared));
      } catch (const std::exception& error) {
        core::log_error(fmt::format("a reply of {} could not be written: {}", request->target.path, error.what()));
        refuse(*request, Trouble::model, "the reply could not be written");
      }
    }
  });
}

// True where this is the request's answer, i.e. where it was not given up before.
bool Service::finish(Request& request, http::Reply reply) {
  if (request.answered.exchange(true)) return false;
  metrics_.count("requests_total", fmt::format("path=\"{}\",model=\"{}\",code=\"{}\"", request.target.path,
                                               request.models.empty() ? "" : request.model, reply.status));
  metrics_.observe("request_seconds", seconds_since(request.received));
  request.respond(std::move(reply));
  return true;
}

void Service::refuse(Request& request, Trouble trouble, const std::string& reason) {
  if (!finish(request, refusal(trouble, request.target.family, reason))) return;
  const char* kind = trouble == Trouble::ending       ? "ending"
                     : trouble == Trouble::overloaded ? "overload"
                     : trouble == Trouble::model      ? "failure"
                                                      : "invalid";
  metrics_.count("rejected_total", fmt::format("reason=\"{}\"", kind));
}

// On the preparer's thread, between its slices, which change requests.
void Service::give_up() {
  gave_up_ = true;
  preparer_.add_first([this] {
    const std::lock_guard lock(mutex_);
    for (Request* request : requests_)
      refuse(*request, Trouble::ending, "the service is shutting down");
  });
}

}  // namespace keel::serve
