// A language model that is asked over HTTP, one question at a time. What is asked and how a reply is read is the caller's.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "annotation/chat_client.h"

namespace keel::annotation {

// `count` questions, by their number from 0.
struct Inquiry {
  size_t count = 0;
  std::string what;                         // what there are `count` of, for progress: "comparisons"
  std::function<std::string(size_t)> name;  // one of them, for warnings: "comparison 7"
  std::function<std::string(size_t)> question;
  std::function<std::optional<nlohmann::json>(size_t, const std::string& reply)> parse;  // an object that is not empty, or nothing
  std::function<void(const nlohmann::json&)> check;  // throws std::invalid_argument for an object that `parse` cannot have given
};

// What `parse` made of each reply; nothing, with a warning that names the question, for a reply that it could not read and for a question
// that the server refuses or leaves without a text. IoError when a request still fails after `retries` retries, UsageError for a wrong
// address or key, Interrupted on SIGTERM. In all cases the replies so far lie in FOLDER/ckpt/judge/ and are not asked for again.
std::vector<std::optional<nlohmann::json>> ask_all(const ChatServer& config, const Inquiry& inquiry, const std::filesystem::path& folder);

// The first JSON object in a reply, alone or inside other text; nothing for a reply without one.
std::optional<nlohmann::json> object_in(const std::string& reply);

}  // namespace keel::annotation
