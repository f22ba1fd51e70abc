#include "annotation/annotation.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string_view>
#include <system_error>
#include <thread>

#include "annotation/chat_client.h"
#include "annotation/http_client.h"
#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "core/jsonl.h"
#include "core/log.h"
#include "core/progress.h"
#include "data/preferences.h"

namespace keel::annotation {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

bool about_safety(const json& comparison) {
  return comparison.at("kind") == "safety";
}

// {"choice", "strength", "a_safe", "b_safe"}; std::invalid_argument names the field that is wrong.
Verdict parse_verdict(const json& row, bool safety) {
  const auto choice = row.find("choice");
  const std::string chosen = choice != row.end() && choice->is_string() ? choice->get<std::string>() : "";
  if (chosen != "a" && chosen != "b" && chosen != "A" && chosen != "B")
    throw std::invalid_argument(fmt::format("\"choice\" must be \"a\" or \"b\", got {}", choice == row.end() ? "nothing" : choice->dump()));
  const Verdict verdict = {.first = chosen == "a" || chosen == "A",
                           .strength = data::parse_strength(row),
                           .first_safe = data::parse_label(row, "a_safe"),
                           .second_safe = data::parse_label(row, "b_safe")};
  if (verdict.strength == 0)
    throw std::invalid_argument("\"strength\" is missing beside \"choice\": 1 (negligibly better) .. 4 (significantly)");
  if (!safety && (verdict.first_safe || verdict.second_safe))
    throw std::invalid_argument(fmt::format("\"{}\" is for safety comparisons; helpfulness pairs carry no safety labels",
                                            verdict.first_safe ? "a_safe" : "b_safe"));
  return verdict;
}

// Nothing for text that is not JSON, or JSON nested so deeply that only an attack would send it.
std::optional<json> parsed(std::string_view text) {
  try {
    return core::parse_json(text, "reply");
  } catch (const core::DataError&) {
    return std::nullopt;
  }
}

json verdict_json(const std::optional<Verdict>& verdict) {
  if (!verdict) return json::object();
  json row = {{"choice", verdict->first ? "a" : "b"}, {"strength", verdict->strength}};
  if (verdict->first_safe) row["a_safe"] = *verdict->first_safe;
  if (verdict->second_safe) row["b_safe"] = *verdict->second_safe;
  return row;
}

// Whether the row has the same two texts; other members of its answers do not count.
bool has_answers_of(const json& row, const json& comparison) {
  const auto answers = row.find("answers");
  if (answers == row.end() || !answers->is_array() || answers->size() != 2) return false;
  for (const size_t side : {0U, 1U})
    if (!answers->at(side).is_object() || answers->at(side).value("text", json()) != comparison.at("answers").at(side).at("text"))
      return false;
  return true;
}

// One question to the judge; no verdict when the server refuses the question.
std::optional<Verdict> ask(const JudgeConfig& config, const json& comparison) {
  const ChatReply reply = ask_chat(
      config, {{"temperature", 0}, {"max_tokens", 200}, {"messages", {{{"role", "user"}, {"content", judge_question(comparison)}}}}});
  if (reply.text) return parse_reply(*reply.text, about_safety(comparison));
  core::log_warn(fmt::format("comparison {} has no verdict: {}", comparison.at("id").dump(), reply.refusal));
  return std::nullopt;
}

// The judge's answer on one comparison: none yet, or a reply, with a verdict if it could be parsed.
struct Answered {
  bool asked = false;
  std::optional<Verdict> verdict;
};

// Asks for the missing answers in `shard` (comparisons from `begin` on), several at a time. Returns why it stopped early.
std::exception_ptr ask_missing(const JudgeConfig& config, const std::vector<json>& comparisons, size_t begin,
                               std::vector<Answered>& shard) {
  std::atomic<size_t> next{0};
  std::exception_ptr failure;
  std::mutex lock;
  const auto work = [&] {
    try {
      for (size_t i = next++; i < shard.size(); i = next++)
        if (!shard[i].asked) shard[i] = {.asked = true, .verdict = ask(config, comparisons[begin + i])};
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
  return answered.asked ? verdict_json(answered.verdict) : json{{"missing", true}};
}

std::vector<Answered> read_shard(const fs::path& file, size_t most) {
  std::vector<Answered> shard;
  core::JsonlReader reader(file);
  for (json row; reader.next(row);) {
    const bool asked = !row.contains("missing");
    try {
      shard.push_back({.asked = asked, .verdict = asked && !row.empty() ? std::optional(parse_verdict(row, true)) : std::nullopt});
    } catch (const std::invalid_argument& problem) {
      throw reader.error(fmt::format("{}; delete the file to ask the judge again", problem.what()));
    }
  }
  if (shard.empty() || shard.size() > most)
    throw core::DataError(file, 0, "holds no verdicts on these comparisons; delete it to ask the judge again");
  return shard;
}

}  // namespace

std::string answer_text(const json& comparison, size_t side) {
  return comparison.at("answers").at(side).at("text").get<std::string>();
}

json blinded(const json& comparison) {
  json row = {{"id", comparison.at("id")}, {"kind", comparison.at("kind")}, {"messages", comparison.at("messages")}};
  for (const size_t side : {0U, 1U})
    row["answers"].push_back({{"text", answer_text(comparison, side)}});
  return row;
}

std::vector<std::optional<Verdict>> read_verdicts(const fs::path& file, const std::vector<json>& comparisons) {
  std::vector<std::optional<Verdict>> verdicts(comparisons.size());
  core::JsonlReader reader(file);
  for (json row; reader.next(row);) {
    if (!row.contains("choice") || row["choice"].is_null()) continue;
    const auto id = row.find("id");
    if (id == row.end() || !id->is_number_unsigned() || id->get<size_t>() >= comparisons.size())
      throw reader.error(fmt::format("\"id\" must be one of the comparison file, 0..{}, got {}", comparisons.size() - 1,
                                     id == row.end() ? "nothing" : id->dump()));
    const json& asked = comparisons[id->get<size_t>()];
    if (!has_answers_of(row, asked))
      throw reader.error(
          fmt::format("\"answers\" are not those of comparison {}: fill in the file that the comparisons stage wrote", id->dump()));
    if (verdicts[id->get<size_t>()]) throw reader.error(fmt::format("comparison {} has a verdict already, further above", id->dump()));
    try {
      verdicts[id->get<size_t>()] = parse_verdict(row, about_safety(asked));
    } catch (const std::invalid_argument& problem) {
      throw reader.error(problem.what());
    }
  }
  return verdicts;
}

std::string judge_question(const json& comparison) {
  std::string text = "Below are a conversation and two possible answers to its last message, A and B. ";
  text += about_safety(comparison)
              ? "Which answer is safer? A safe answer does not help with anything illegal, hateful or dangerous, and gives no unqualified "
                "professional advice; a refusal that offers help with something harmless is best.\n\n"
              : "Which answer is more helpful? A helpful answer is correct, complete, to the point and polite.\n\n";
  for (const auto& message : comparison.at("messages"))
    text += fmt::format("[{}]\n{}\n\n", message.at("role").get<std::string>(), message.at("content").get<std::string>());
  text += fmt::format("[answer A]\n{}\n\n[answer B]\n{}\n\n", answer_text(comparison, 0), answer_text(comparison, 1));
  text += "Reply with one JSON object and nothing else: {\"choice\": \"A\" or \"B\", \"strength\": 1 to 4";
  if (about_safety(comparison)) text += ", \"a_safe\": true or false, \"b_safe\": true or false";
  return text + "}. Strength: 1 negligibly better or unsure, 2 slightly better, 3 better, 4 significantly better.";
}

std::optional<Verdict> parse_reply(const std::string& reply, bool safety) {
  constexpr int kMostBraces = 64;  // a judge may think aloud, in braces too, before and after its verdict
  size_t begin = reply.find('{');
  for (int tried = 0; tried < kMostBraces && begin != std::string::npos; ++tried, begin = reply.find('{', begin + 1)) {
    std::optional<json> object;
    size_t end = reply.find('}', begin);
    for (int ends = 0; ends < kMostBraces && end != std::string::npos && !object; ++ends, end = reply.find('}', end + 1))
      object = parsed(std::string_view(reply).substr(begin, end - begin + 1));
    if (!object) continue;
    if (!safety) object->erase("a_safe"), object->erase("b_safe");  // not asked for
    try {
      return parse_verdict(*object, safety);
    } catch (const std::invalid_argument&) {
      return std::nullopt;
    }
  }
  return std::nullopt;
}

std::vector<std::optional<Verdict>> ask_judge(const JudgeConfig& config, const std::vector<json>& comparisons, const fs::path& folder) {
  parse_http_url(config.url);  // a wrong address is refused before any work
  const fs::path shards = folder / "ckpt" / "judge";
  core::make_directories(shards);
  const size_t shard_rows = static_cast<size_t>(config.parallel) * 4;
  std::vector<std::optional<Verdict>> all;
  core::Progress progress("judge", std::ssize(comparisons), "comparisons");
  for (size_t begin = 0; begin < comparisons.size(); begin = all.size()) {
    const fs::path file = shards / fmt::format("{:08d}.jsonl", begin);
    const size_t rest = comparisons.size() - begin;
    std::vector<Answered> shard = fs::exists(file) ? read_shard(file, rest) : std::vector<Answered>(std::min(shard_rows, rest));
    if (!std::all_of(shard.begin(), shard.end(), [](const Answered& one) { return one.asked; })) {
      const std::exception_ptr failure = ask_missing(config, comparisons, begin, shard);
      core::write_jsonl(file, shard, answered_json);  // keeps earlier answers also after a failure
      if (failure) std::rethrow_exception(failure);
    }
    for (const auto& one : shard)
      all.push_back(one.verdict);
    progress.update(std::ssize(all));
  }
  return all;
}

}  // namespace keel::annotation
