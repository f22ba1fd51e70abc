// The scoring service: paths, admission, the way of a request from its bytes to its reply. docs/serving.md is its contract.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>

#include "core/config.h"
#include "http/server.h"
#include "serve/dialects/dialects.h"
#include "serve/engine.h"
#include "serve/keys.h"
#include "serve/metrics.h"
#include "serve/models.h"
#include "serve/preparer.h"

namespace keel::serve {

// What becomes of texts over the limit, unless a request says: the end is kept, for the score is read there, or they are refused.
enum class Truncation { keep_end, refuse };
constexpr auto names(Truncation) {
  return std::to_array<core::Named<Truncation>>({{Truncation::keep_end, "keep_end"}, {Truncation::refuse, "refuse"}});
}

struct ServiceConfig {
  http::Limits http;
  EngineLimits queue;
  int64_t most_texts = 4096;
  int64_t most_text_bytes = 1 << 20;
  int64_t drain_seconds = 30;
  int64_t drain_delay_seconds = 0;
  Truncation truncation = Truncation::keep_end;
  bool embeddings = false;
};

inline void visit(ServiceConfig& config, core::Fields& fields) {
  fields.section("http", config.http, "connections and requests");
  fields.section("queue", config.queue, "batches, and what may wait");
  fields("most_texts", config.most_texts, "most texts of a request (TEI's paths: 32)", core::at_least(1));
  fields("most_text_bytes", config.most_text_bytes, "longest text, or dialogue, of a request in bytes", core::at_least(1));
  fields("drain_seconds", config.drain_seconds, "after SIGTERM: longest time for what has been accepted", core::between(0, 3600));
  fields("drain_delay_seconds", config.drain_delay_seconds,
         "after SIGTERM: time in which /readyz says 503 and new requests are still served", core::between(0, 3600));
  fields("truncation", config.truncation,
         "texts over the limit, unless a request says otherwise: their end is scored, or they are refused");
  fields("embeddings", config.embeddings, "POST /v1/embeddings gives the reward as an embedding, for verl's SGLang client");
}

class Service {
 public:
  // `key_file`: "" for none; read_keys() reads it again.
  Service(const ServiceConfig& config, std::string key_file);
  ~Service();
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  // From the server's thread.
  std::optional<http::Reply> screen(const http::Request& head) const;
  void handle(http::Request request, http::Respond respond);
  http::Reply refuse_unread(int status, const std::string& path, const std::string& reason) const;  // what the server refuses, counted

  // Puts a set of models in place of the one before, between two requests. From any thread.
  void use(std::shared_ptr<const ModelSet> models);
  void read_keys();                       // UsageError keeps the keys before
  void drain_soon() { leaving_ = true; }  // not ready any more, but serves
  void drain() { draining_ = true; }      // refuses what comes
  void give_up();                         // answers all that waits, and what still comes, with 503
  bool ready() const { return models() != nullptr && !leaving_; }
  bool takes_work() const { return ready() && !engine_.full(); }
  void count_with(std::function<http::Counts()> counts) { counts_ = std::move(counts); }  // of the server, for /metrics
  int64_t queued_texts() const { return engine_.queued_texts(); }
  Metrics& metrics() { return metrics_; }
  std::shared_ptr<const ModelSet> models() const;

 private:
  struct Request;
  http::Reply get(const http::Request& request) const;
  http::Reply refuse_head(int status, const std::string& path, const std::string& reason) const;  // before the body
  void measure() const;  // into the metrics, what is counted elsewhere
  void prepare(const std::shared_ptr<Request>& request);
  void parse(Request& request);
  static void choose_model(Request& request);
  bool tokenize_some(Request& request);
  void answer(const std::shared_ptr<Request>& request, End end, std::vector<Values> values);
  http::Reply reply_to(Request& request, std::vector<Values>& values);  // these in replies.cpp
  void fill_scores(Request& request, std::vector<Values>& values);
  std::string scores_json(Request& request, const dialects::Timings& timings) const;
  bool finish(Request& request, http::Reply reply);
  void refuse(Request& request, dialects::Trouble trouble, const std::string& reason);

  ServiceConfig config_;
  std::string key_file_;
  mutable std::mutex mutex_;
  std::shared_ptr<const ModelSet> models_;
  std::shared_ptr<const Keys> keys_;
  std::function<http::Counts()> counts_ = [] { return http::Counts{}; };
  std::atomic<bool> leaving_{false}, draining_{false}, gave_up_{false};
  mutable Metrics metrics_;
  std::set<Request*> requests_;  // that are not answered yet; under mutex_
  Preparer preparer_;
  Engine engine_;
};

}  // namespace keel::serve
