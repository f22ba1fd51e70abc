#include "annotation/judge.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string_view>
#include <system_error>
#include <thread>

#include "annotation/http_client.h"
#include "core/error.h"
#include "core/files.h"
#include "core/interrupt.h"
#include "core/json.h"
#include "core/jsonl.h"
#include "core/log.h"
#include "core/progress.h"
#include "data/text.h"

namespace keel::annotation {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// Nothing for text that is not JSON, or JSON nested so deeply that only an attack would send it.
std::optional<json> parsed(std::string_view text) {
  try {
    return core::parse_json(text, "reply");
  } catch (const core::DataError&) {
    return std::nullopt;
  }
}

std::string bearer(const std::string& key) {
  if (std::any_of(key.begin(), key.end(), [](char c) { return c < ' ' || c > '~'; }))
    throw core::UsageError("KEEL_JUDGE_KEY holds a line break or another character that no key has; set it again");
  return "Bearer " + key;
}

// The beginning of a foreign text, for a terminal: without control characters and non-ASCII bytes.
std::string shown(const std::string& text) {
  std::string line(data::strip(text.substr(0, 200)));
  for (char& c : line)
    if (c < ' ' || c > '~') c = '?';
  return line;
}

// Statuses of OpenAI's interface: another attempt may succeed, or the server refuses this one question (longer than the context, say). Any
// other status means a wrong address, model or key.
bool worth_repeating(int status) {
  return status >= 500 || status == 408 || status == 429;
}
bool refuses_question(int status) {
  return status == 400 || status == 413 || status == 422;
}

void wait_unless_interrupted(std::chrono::milliseconds time) {
  const auto end = std::chrono::steady_clock::now() + time;
  while (std::chrono::steady_clock::now() < end && !core::interrupt_requested())
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
}

// The text of choices[0].message.content; nullptr in a body without it.
const std::string* content_of(const json& body) {
  const json* at = &body;
  if (!at->is_object() || !at->contains("choices") || !(*at)["choices"].is_array() || (*at)["choices"].empty()) return nullptr;
  at = &(*at)["choices"][0];
  for (const char* name : {"message", "content"}) {
    if (!at->is_object() || !at->contains(name)) return nullptr;
    at = &(*at)[name];
  }
  return at->is_string() ? &at->get_ref<const std::string&>() : nullptr;
}

// Question `i` to the judge, repeated while the server fails; nothing when the server refuses it.
std::optional<json> ask(const JudgeConfig& config, const HttpUrl& url, const Inquiry& inquiry, size_t i) {
  const json request = {{"model", config.model},
                        {"temperature", 0},
                        {"max_tokens", 200},
                        {"messages", {{{"role", "user"}, {"content", inquiry.question(i)}}}}};
  std::map<std::string, std::string> headers;
  if (const char* key = std::getenv("KEEL_JUDGE_KEY")) headers["Authorization"] = bearer(key);
  std::string failure;
  for (int64_t attempt = 0; attempt <= config.retries; ++attempt) {
    if (attempt > 0) wait_unless_interrupted(std::chrono::milliseconds(200 << std::min<int64_t>(attempt, 6)));
    if (core::interrupt_requested()) throw core::Interrupted("stopped while the judge was asked");
    try {
      const HttpReply reply = http_post(url, core::dump_json(request), headers, config.timeout_seconds);
      if (reply.status != 200) {
        failure = fmt::format("{} answers with status {}: {}", config.url, reply.status, shown(reply.body));
        if (worth_repeating(reply.status)) continue;
        if (!refuses_question(reply.status))
          throw core::UsageError(failure + "; check judge.url, judge.model and KEEL_JUDGE_KEY, then give the same command again");
        core::log_warn(fmt::format("{} has no verdict: {}", inquiry.name(i), failure));
        return std::nullopt;
      }
      const json body = parsed(reply.body).value_or(json());
      if (const std::string* content = content_of(body); content != nullptr) return inquiry.parse(i, *content);
      failure = fmt::format("{} answers without choices[0].message.content: {}", config.url, shown(reply.body));
    } catch (const core::IoError& error) {
      failure = error.what();
    }
  }
  throw core::IoError(
      fmt::format("the judge gives no verdict after {} attempts: {}; the same command goes on from here", config.retries + 1, failure));
}

// The judge's answer to one question: none yet, or a reply, with a verdict if it could be parsed.
struct Answered {
  bool asked = false;
  std::optional<json> verdict;
};

// Asks for the missing answers in `shard` (questions from `begin` on), several at a time. Returns why it stopped early.
std::exception_ptr ask_missing(const JudgeConfig& config, const HttpUrl& url, const Inquiry& inquiry, size_t begin,
                               std::vector<Answered>& shard) {
  std::atomic<size_t> next{0};
  std::exception_ptr failure;
  std::mutex lock;
  const auto work = [&] {
    try {
      for (size_t i = next++; i < shard.size(); i = next++)
        if (!shard[i].asked) shard[i] = {.asked = true, .verdict = ask(config, url, inquiry, begin + i)};
    } catch (...) {
      const std::lock_guard guard(lock);
      failure = std::current_exception();
      next = shard.size();
    }
  };
  std::vector<std::thread> workers;
  try {
    for (int64_t i = 0; i < config.parallel; ++i)
      workers.emplace_back(work);
  } catch (const std::system_error&) {  // no more threads: those that there are ask everything
    if (workers.empty()) work();
  }
  for (auto& worker : workers)
    worker.join();
  return failure;
}

// Rows of a shard's file: a verdict, {} for a reply without one, {"missing": true} where an attempt ended before the judge replied.
json answered_json(const Answered& answered) {
  return answered.asked ? answered.verdict.value_or(json::object()) : json{{"missing", true}};
}

std::vector<Answered> read_shard(const fs::path& file, const Inquiry& inquiry, size_t most) {
  std::vector<Answered> shard;
  core::JsonlReader reader(file);
  for (json row; reader.next(row);) {
    const bool asked = !row.contains("missing");
    try {
      if (asked && !row.empty()) inquiry.check(row);
      shard.push_back({.asked = asked, .verdict = asked && !row.empty() ? std::optional(row) : std::nullopt});
    } catch (const std::invalid_argument& problem) {
      throw reader.error(fmt::format("{}; delete the file to ask the judge again", problem.what()));
    }
  }
  if (shard.empty() || shard.size() > most)
    throw core::DataError(file, 0, "holds no verdicts on these " + inquiry.what + "; delete it to ask the judge again");
  return shard;
}

}  // namespace

std::vector<std::optional<json>> ask_all(const JudgeConfig& config, const Inquiry& inquiry, const fs::path& folder) {
  HttpUrl url = parse_http_url(config.url);
  url.path += url.path.ends_with("/v1") ? "/chat/completions" : "/v1/chat/completions";
  const fs::path shards = folder / "ckpt" / "judge";
  core::make_directories(shards);
  const size_t shard_rows = static_cast<size_t>(config.parallel) * 4;
  std::vector<std::optional<json>> all;
  core::Progress progress("judge", static_cast<int64_t>(inquiry.count), inquiry.what);
  for (size_t begin = 0; begin < inquiry.count; begin = all.size()) {
    const fs::path file = shards / fmt::format("{:08d}.jsonl", begin);
    const size_t rest = inquiry.count - begin;
    std::vector<Answered> shard = fs::exists(file) ? read_shard(file, inquiry, rest) : std::vector<Answered>(std::min(shard_rows, rest));
    if (!std::all_of(shard.begin(), shard.end(), [](const Answered& one) { return one.asked; })) {
      const std::exception_ptr failure = ask_missing(config, url, inquiry, begin, shard);
      core::write_jsonl(file, shard, answered_json);  // keeps earlier answers also after a failure
      if (failure) std::rethrow_exception(failure);
    }
    for (const auto& one : shard)
      all.push_back(one.verdict);
    progress.update(std::ssize(all));
  }
  return all;
}

std::optional<json> object_in(const std::string& reply) {
  constexpr int kMostBraces = 64;  // a judge may think aloud, in braces too, before and after its verdict
  size_t begin = reply.find('{');
  for (int tried = 0; tried < kMostBraces && begin != std::string::npos; ++tried, begin = reply.find('{', begin + 1)) {
    size_t end = reply.find('}', begin);
    for (int ends = 0; ends < kMostBraces && end != std::string::npos; ++ends, end = reply.find('}', end + 1))
      if (auto object = parsed(std::string_view(reply).substr(begin, end - begin + 1))) return object;
  }
  return std::nullopt;
}

}  // namespace keel::annotation
