// A scoring request on its way. Its room in the queue is given back when it goes.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "serve/dialects/paths.h"
#include "serve/service.h"

namespace keel::serve {

struct Service::Request {
  using Clock = std::chrono::steady_clock;

  Request(Service& of, http::Request whole, http::Respond respond_once);
  ~Request();
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;

  bool reserve(int64_t more_texts, int64_t more_tokens);

  Service& service;
  Engine& engine;
  std::atomic<bool> answered{false};
  http::Request http;
  http::Respond respond;
  dialects::Target target;
  int64_t texts = 0, tokens = 0;  // reserved
  int64_t characters = 0;
  Clock::time_point received = Clock::now(), prepared = received;
  std::shared_ptr<const ModelSet> set;
  std::vector<std::shared_ptr<const ServedModel>> models;  // one, or helpfulness and safety; or a policy
  std::string model;
  dialects::Asked asked;
  std::vector<dialects::Score> scores;
  std::vector<std::vector<bool>> masks;  // of log-probabilities
  size_t rendered = 0;                   // items
  std::shared_ptr<Job> job = std::make_shared<Job>();
};

}  // namespace keel::serve
