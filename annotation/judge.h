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

// How a judge is asked.
struct JudgeServer : ChatServer {
  double temperature = 0;
  int64_t max_tokens = 200;
  int64_t budget = 0;
};

inline void visit(JudgeServer& judge, core::Fields& fields) {
  visit(static_cast<ChatServer&>(judge), fields);
  fields("temperature", judge.temperature, "sampling temperature of the judge's replies", core::unkeyed_at("0", core::between(0, 2)));
  fields("max_tokens", judge.max_tokens, "longest reply in tokens; a judge that thinks first needs thousands",
         core::unkeyed_at("200", core::between(1, 1'000'000)));
  fields("budget", judge.budget, "most requests that the stage may send, retries and earlier attempts of the stage included; 0 = no limit",
         core::unkeyed(core::at_least(0)));
}

// A wrong address, and settings that nothing reads because no model is named.
std::vector<std::string> problems_of(const JudgeServer& judge);

// `count` questions, by their number from 0.
struct Inquiry {
  size_t count = 0;
  std::string what;                         // what there are `count` of, for progress: "comparisons"
  std::function<std::string(size_t)> name;  // one of them, for warnings: "comparison 7"
  std::function<std::string(size_t)> question;
  std::function<std::optional<nlohmann::json>(size_t, const std::string& reply)> parse;  // an object that is not empty, or nothing
  std::function<void(const nlohmann::json&)> check;  // throws std::invalid_argument for an object that `parse` cannot have given
};

struct Inquired {
  std::vector<std::optional<nlohmann::json>> verdicts;  // what `parse` made of each reply
  int64_t unreadable = 0;                               // replies that it could not read; the next are apart from these
  int64_t cut = 0;                                      // those that ended at max_tokens before any verdict
  int64_t refused = 0;                                  // questions that the server refuses or leaves without a text
};

// Once so many replies have come in one attempt and more than three quarters of them hold no verdict, asking stops: the rest would be paid
// for in vain.
constexpr int64_t kRepliesToTrust = 20;

// Asks every question once. `parse` gets the reply without the judge's thoughts, see without_thoughts(). A question without a verdict is
// named by a warning. IoError when a request still fails after `retries` retries; UsageError for a wrong address or key, and once the
// budget is spent; DataError where more than three quarters of the replies hold no verdict; Interrupted on SIGTERM. In all cases the
// replies so far lie in FOLDER/ckpt/judge/ and are not asked for again, save those without a verdict after that DataError. `requests`: the
// file that counts the requests of the whole stage; "" = FOLDER/ckpt/requests.
Inquired ask_all(const JudgeServer& judge, const Inquiry& inquiry, const std::filesystem::path& folder,
                 const std::filesystem::path& requests = {});

// Asks one question whose verdict is plain, before anything depends on the judge. DataError where `readable` finds no verdict in the reply,
// and where the server refuses the question; IoError and UsageError as ask_all(). No budget counts it.
void try_question(const JudgeServer& judge, const std::string& question, const std::function<bool(const std::string& reply)>& readable);

// Forgets all replies in FOLDER, so that they are asked for again. The requests stay counted.
void forget_replies(const std::filesystem::path& folder);

// What follows the last </think>, and of that what stands before an unfinished <think>: a verdict that a judge only considers is none.
std::string without_thoughts(const std::string& reply);

// The first JSON object in a reply, alone or inside other text; nothing for a reply without one.
std::optional<nlohmann::json> object_in(const std::string& reply);

}  // namespace keel::annotation
