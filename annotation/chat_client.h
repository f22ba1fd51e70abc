// A language model behind OpenAI's /v1/chat/completions, asked with patience.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/config.h"

namespace keel::annotation {

// Where it is, and how to ask it.
struct ChatServer {
  std::string url = "http://127.0.0.1:8000";
  std::string model = {};
  int64_t parallel = 4;
  int64_t timeout_seconds = 120;
  int64_t retries = 3;
  const char* key_variable = "KEEL_JUDGE_KEY";  // environment variable of its bearer token; no field, so that no token gets into a file
};

inline void visit(ChatServer& server, core::Fields& fields) {
  fields("url", server.url,
         "server, http:// or https://, with or without /v1. $" + std::string(server.key_variable) + " is sent as its bearer token",
         core::unkeyed());
  fields("model", server.model, "name of the model to ask");
  fields("parallel", server.parallel, "requests at a time", core::unkeyed(core::between(1, 256)));
  fields("timeout_seconds", server.timeout_seconds, "longest wait for one answer, seconds", core::unkeyed(core::between(1, 86400)));
  fields("retries", server.retries, "retries of a failed request before the stage stops", core::unkeyed(core::between(0, 100)));
}

// A wrong address, and settings that nothing reads because no model is named; `set`: the fields that differ from their defaults.
std::vector<std::string> problems_of(const ChatServer& server, const std::vector<core::Difference>& set);

struct ChatReply {
  std::optional<std::string> text;
  std::string refusal;  // where there is none for this one question (longer than the context, filtered, all tokens thought away): why
  bool cut = false;     // the server says that it ended at max_tokens (finish_reason "length")
};

// Sends `request` ("messages", "temperature" ...; "model" is added) and gives the text of the first choice; a thought apart from it
// (reasoning_content) is no part of the text. A server that fails, keeps silent or answers something else (an HTML page) is asked again
// `retries` times, with growing pauses, or the one that its Retry-After asks for, up to a minute; so is one whose message has no text
// (null), which then counts as a refusal of the question, at once where all of max_tokens went into thinking. IoError when that was in
// vain, UsageError at once for a wrong address, model or key, Interrupted on SIGTERM. `before_each` is called before every sending, and
// what it throws ends the question.
ChatReply ask_chat(const ChatServer& server, nlohmann::json request, const std::function<void()>& before_each = {});

// The beginning of a foreign text, for a terminal: without control characters and non-ASCII bytes.
std::string shown(const std::string& text);

}  // namespace keel::annotation
