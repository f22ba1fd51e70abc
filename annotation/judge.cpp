#include "annotation/judge.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>

#include "annotation/parallel.h"
#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "core/jsonl.h"
#include "core/log.h"
#include "core/progress.h"
#include "http/client.h"

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

// Question `i` to the judge; nothing when the server refuses it.
std::optional<json> ask(const ChatServer& config, const Inquiry& inquiry, size_t i) {
  const ChatReply reply =
      ask_chat(config, {{"temperature", 0}, {"max_tokens", 200}, {"messages", {{{"role", "user"}, {"content", inquiry.question(i)}}}}});
  auto verdict = reply.text ? inquiry.parse(i, *reply.text) : std::nullopt;
  if (!verdict)
    core::log_warn(fmt::format("{} has no verdict: {}", inquiry.name(i),
                               reply.text ? fmt::format("the judge replies \"{}\"", shown(*reply.text)) : reply.refusal));
  return verdict;
}

// The judge's answer to one question: none yet, or a reply, with a verdict if it could be parsed.
struct Answered {
  bool asked = false;
  std::optional<json> verdict;
};

// Asks for the missing answers in `shard` (questions from `begin` on), several at a time. Returns why it stopped early.
std::exception_ptr ask_missing(const ChatServer& config, const Inquiry& inquiry, size_t begin, std::vector<Answered>& shard) {
  return run_in_parallel(config.parallel, shard.size(), [&](size_t i) {
    if (!shard[i].asked) shard[i] = {.asked = true, .verdict = ask(config, inquiry, begin + i)};
  });
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

std::vector<std::optional<json>> ask_all(const ChatServer& config, const Inquiry& inquiry, const fs::path& folder) {
  http::parse_url(config.url);  // a wrong address is refused before any work
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
      const std::exception_ptr failure = ask_missing(config, inquiry, begin, shard);
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
