// A language model behind OpenAI's /v1/chat/completions, asked with patience.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "annotation/annotation.h"

namespace keel::annotation {

struct ChatReply {
  std::optional<std::string> text;
  std::string refusal;  // where the server refuses this one question (longer than its context, say): what it said
};

// Sends `request` ("messages", "temperature" ...; "model" is added) and gives the text of the first choice. A server that fails, keeps
// silent or answers something else (an HTML page) is asked again `retries` times, with growing pauses. IoError when that was in vain,
// UsageError at once for a wrong address, model or key, Interrupted on SIGTERM.
ChatReply ask_chat(const JudgeConfig& server, nlohmann::json request);

}  // namespace keel::annotation
