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

struct Choice {
  std::optional<std::string> text;
  bool cut = false;
};

// choices[0] of a reply; nothing where it has no message, or is no JSON: reported by the caller with what came instead.
std::optional<Choice> choice_of(const std::string& body) {
  try {
    const json reply = core::parse_json(body, "reply");
    const json::json_pointer at_message("/choices/0/message"), at_reason("/choices/0/finish_reason");
    if (!reply.contains(at_message) || !reply.at(at_message).is_object()) return std::nullopt;
    const json& message = reply.at(at_message);
    Choice choice{.text = {}, .cut = reply.contains(at_reason) && reply.at(at_reason) == "length"};
    if (message.contains("content") && message.at("content").is_string()) choice.text = message.at("content").get<std::string>();
    return choice;
  } catch (const core::DataError&) {
    return std::nullopt;
  }
}

}  // namespace

std::string shown(const std::string& text) {
  std::string line(data::strip(text.substr(0, 200)));
  for (char& c : line)
    if (c < ' ' || c > '~') c = '?';
  return line;
}

std::vector<std::string> problems_of(const ChatServer& server, const std::vector<core::Difference>& set) {
  std::vector<std::string> problems;
  if (server.model.empty())
    for (const auto& field : set)
      problems.push_back(field.name + ": nothing reads it without model");
  try {
    http::parse_url(server.url);
  } catch (const core::UsageError& error) {
    problems.push_back(fmt::format("url: {}", error.what()));
  }
  return problems;
}

ChatReply ask_chat(const ChatServer& server, json request, const std::function<void()>& before_each) {
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
    if (before_each) before_each();
    try {
      const http::Answer reply = http::post(url, core::dump_json(request), headers, server.timeout_seconds);
      if (reply.status == 200) {
        const auto choice = choice_of(reply.body);
        wordless = choice.has_value();
        if (wordless && choice->text) return {.text = choice->text, .refusal = {}, .cut = choice->cut};
        if (wordless && choice->cut)  // the same question would end in the same way
          return {.text = {}, .refusal = "its reply has no text, only thoughts, when finish_reason \"length\" ends it", .cut = true};
        failure = fmt::format("{} answers without choices[0].message.content: {}", server.url, shown(reply.body));
        continue;
      }
      wordless = false;
      retry_after = reply.retry_after;
      failure = fmt::format("{} answers with status {}: {}", server.url, reply.status, shown(reply.body));
      if (refuses_question(reply.status)) return {.text = {}, .refusal = failure, .cut = false};
      if (!worth_repeating(reply.status))
        throw core::UsageError(
            fmt::format("{}; check its address, its model's name and {}, then give the same command again", failure, server.key_variable));
    } catch (const core::IoError& error) {
      wordless = false;
      failure = error.what();
    }
  }
  if (wordless) return {.text = {}, .refusal = failure, .cut = false};
  throw core::IoError(fmt::format("no answer after {} attempts: {}; the same command goes on from here", server.retries + 1, failure));
}

}  // namespace keel::annotation
