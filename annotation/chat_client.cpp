#include "annotation/chat_client.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/json.h"
#include "data/text.h"
#include "http/client.h"

namespace keel::annotation {
namespace {

using nlohmann::json;

// Statuses of OpenAI's interface: another attempt may succeed, or the server refuses this one question (longer than the context, say). Any
// other status means a wrong address, model or key.
bool worth_repeating(int status) {
  return status >= 500 || status == 408 || status == 429;
}
bool refuses_question(int status) {
  return status == 400 || status == 413 || status == 422;
}

// choices[0].message of a reply; nothing where it has none, or is no JSON: reported by the caller with what came instead.
std::optional<json> message_of(const std::string& body) {
  try {
    const json reply = core::parse_json(body, "reply");
    const auto message = json::json_pointer("/choices/0/message");
    if (reply.contains(message) && reply.at(message).is_object()) return reply.at(message);
  } catch (const core::DataError&) {
  }
  return std::nullopt;
}

}  // namespace

std::string shown(const std::string& text) {
  std::string line(data::strip(text.substr(0, 200)));
  for (char& c : line)
    if (c < ' ' || c > '~') c = '?';
  return line;
}

std::vector<std::string> problems_of(const ChatServer& server) {
  std::vector<std::string> problems;
  if (server.model.empty())
    for (const auto& field : core::set_fields(server))
      problems.push_back(field.name + ": nothing reads it without model");
  try {
    http::parse_url(server.url);
  } catch (const core::UsageError& error) {
    problems.push_back(fmt::format("url: {}", error.what()));
  }
  return problems;
}

ChatReply ask_chat(const ChatServer& server, json request) {
  http::Url url = http::parse_url(server.url);
  url.path += url.path.ends_with("/v1") ? "/chat/completions" : "/v1/chat/completions";
  request["model"] = server.model;
  const auto headers = http::bearer_headers(server.key_variable);
  std::string failure;
  int64_t retry_after = 0;  // seconds that the last reply asked to wait
  bool wordless = false;    // the last reply was a model's, without a text
  for (int64_t attempt = 0; attempt <= server.retries; ++attempt) {
    if (attempt > 0) http::wait_before_retry(attempt, std::exchange(retry_after, 0));
    if (core::interrupt_requested()) throw core::Interrupted("stopped while a server was asked");
    try {
      const http::Answer reply = http::post(url, core::dump_json(request), headers, server.timeout_seconds);
      if (reply.status == 200) {
        const auto message = message_of(reply.body);
        wordless = message.has_value();
        if (wordless && message->contains("content") && message->at("content").is_string())
          return {.text = message->at("content").get<std::string>(), .refusal = {}};
        failure = fmt::format("{} answers without choices[0].message.content: {}", server.url, shown(reply.body));
        continue;
      }
      wordless = false;
      retry_after = reply.retry_after;
      failure = fmt::format("{} answers with status {}: {}", server.url, reply.status, shown(reply.body));
      if (refuses_question(reply.status)) return {.text = {}, .refusal = failure};
      if (!worth_repeating(reply.status))
        throw core::UsageError(
            fmt::format("{}; check its address, its model's name and {}, then give the same command again", failure, server.key_variable));
    } catch (const core::IoError& error) {
      wordless = false;
      failure = error.what();
    }
  }
  if (wordless) return {.text = {}, .refusal = failure};
  throw core::IoError(fmt::format("no answer after {} attempts: {}; the same command goes on from here", server.retries + 1, failure));
}

}  // namespace keel::annotation
