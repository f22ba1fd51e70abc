#include "annotation/judge.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string_view>

#include "annotation/parallel.h"
#include "annotation/request_budget.h"
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

ChatReply ask_once(const JudgeServer& judge, const std::string& question, const std::function<void()>& before_each) {
  const json messages = {{{"role", "user"}, {"content", question}}};
  return ask_chat(judge, {{"temperature", judge.temperature}, {"max_tokens", judge.max_tokens}, {"messages", messages}}, before_each);
}

// Why a question has no verdict.
enum class Lack { none, unreadable, cut, refused };
constexpr auto names(Lack) {
  return std::to_array<core::Named<Lack>>(
      {{Lack::none, "none"}, {Lack::unreadable, "unreadable"}, {Lack::cut, "cut"}, {Lack::refused, "refused"}});
}

// The judge's answer to one question: none yet, or a reply, with a verdict if it could be parsed.
struct Answered {
  bool asked = false;
  std::optional<json> verdict = {};
  Lack lack = Lack::none;
};

// Thrown when the judge's replies of this attempt are not worth their price.
struct Nonsense : core::Error {
  explicit Nonsense(const std::string& text) : core::Error(core::Exit::data, text) {}
};

// One attempt to get the replies.
class Asking {
 public:
  Asking(const JudgeServer& judge, const Inquiry& inquiry, const fs::path& requests)
      : judge_(judge), inquiry_(inquiry), budget_(requests, judge.budget) {}

  // Asks for the missing answers in `shard` (questions from `begin` on), several at a time. Returns why it stopped early.
  std::exception_ptr ask_missing(size_t begin, std::vector<Answered>& shard) {
    return run_in_parallel(judge_.parallel, shard.size(), [&](size_t i) {
      if (shard[i].asked) return;
      shard[i] = ask(begin + i);
      stop_nonsense();
    });
  }

  const RequestBudget& budget() const { return budget_; }

 private:
  Answered ask(size_t i) {
    const ChatReply reply = ask_once(judge_, inquiry_.question(i), [this] { budget_.take(); });
    const std::string text = reply.text ? without_thoughts(*reply.text) : "";
    Answered answered{.asked = true, .verdict = reply.text ? inquiry_.parse(i, text) : std::nullopt, .lack = Lack::none};
    if (!answered.verdict) answered.lack = reply.cut ? Lack::cut : reply.text ? Lack::unreadable : Lack::refused;
    const std::string said =
        !reply.text ? reply.refusal : fmt::format("the judge replies \"{}\"", shown(text.empty() ? *reply.text : text));
    if (answered.lack == Lack::cut)
      core::log_warn(fmt::format("{} has no verdict: finish_reason \"length\" ended the reply before one; raise max_tokens ({}): {}",
                                 inquiry_.name(i), judge_.max_tokens, said));
    else if (answered.lack != Lack::none)
      core::log_warn(fmt::format("{} has no verdict: {}", inquiry_.name(i), said));
    const std::lock_guard guard(lock_);
    if (answered.lack == Lack::refused) return answered;  // the server's doing, not the judge's
    ++replies_;
    if (answered.verdict) return answered;
    ++(answered.lack == Lack::cut ? cut_ : unreadable_);
    example_ = said;
    return answered;
  }

  void stop_nonsense() {
    const std::lock_guard guard(lock_);
    if (replies_ < kRepliesToTrust || 4 * (unreadable_ + cut_) <= 3 * replies_) return;
    throw Nonsense(fmt::format("{} of the first {} replies hold no verdict{}, e.g. {}", unreadable_ + cut_, replies_,
                               cut_ == 0 ? "" : fmt::format(" ({} ended with finish_reason \"length\": raise max_tokens)", cut_),
                               example_));
  }

  const JudgeServer& judge_;
  const Inquiry& inquiry_;
  RequestBudget budget_;
  std::mutex lock_;
  int64_t replies_ = 0, unreadable_ = 0, cut_ = 0;  // of this attempt
  std::string example_;
};

// Rows of a shard's file: a verdict, {"none": why} for a reply without one, {"missing": true} where an attempt ended before the judge
// replied.
json answered_json(const Answered& answered) {
  if (!answered.asked) return {{"missing", true}};
  return answered.verdict ? *answered.verdict : json{{"none", core::name_of(answered.lack)}};
}

Answered parse_answered(const json& row, const Inquiry& inquiry) {
  if (row.contains("missing")) return {};
  if (const auto why = row.find("none"); why != row.end()) {
    for (const auto& known : names(Lack{}))
      if (*why == known.name) return {.asked = true, .verdict = {}, .lack = known.value};
    throw std::invalid_argument(fmt::format("\"none\" is {}, which is no reason", why->dump()));
  }
  if (row.empty()) return {.asked = true, .verdict = {}, .lack = Lack::unreadable};
  inquiry.check(row);
  return {.asked = true, .verdict = row, .lack = Lack::none};
}

std::vector<Answered> read_shard(const fs::path& file, const Inquiry& inquiry, size_t most) {
  std::vector<Answered> shard;
  core::JsonlReader reader(file);
  for (json row; reader.next(row);) {
    try {
      shard.push_back(parse_answered(row, inquiry));
    } catch (const std::invalid_argument& problem) {
      throw reader.error(fmt::format("{}; delete the file to ask the judge again", problem.what()));
    }
  }
  if (shard.empty() || shard.size() > most)
    throw core::DataError(file, 0, "holds no verdicts on these " + inquiry.what + "; delete it to ask the judge again");
  return shard;
}

fs::path shard_file(const fs::path& folder, size_t begin) {
  return folder / "ckpt" / "judge" / fmt::format("{:08d}.jsonl", begin);
}

// Makes the replies without a verdict missing ones, up to question `end`.
void forget_unreadable(const fs::path& folder, const Inquiry& inquiry, size_t end) {
  for (size_t begin = 0; begin < end;) {
    const fs::path file = shard_file(folder, begin);
    std::vector<Answered> shard = read_shard(file, inquiry, inquiry.count - begin);
    for (Answered& one : shard)
      if (one.lack == Lack::unreadable || one.lack == Lack::cut) one = {};
    core::write_jsonl(file, shard, answered_json);
    begin += shard.size();
  }
}

// Rethrows what ended an attempt, saying what is done and how to go on. `done`: questions that have their reply, `known`: those in files.
[[noreturn]] void stop(const std::exception_ptr& failure, const JudgeServer& judge, const Inquiry& inquiry, const fs::path& folder,
                       size_t done, size_t known) {
  try {
    std::rethrow_exception(failure);
  } catch (const BudgetSpent&) {
    throw core::UsageError(
        fmt::format("the judge's budget of {} requests is spent, and {} of {} {} have their reply: raise \"budget\" of the judge's "
                    "settings (0 = no limit) and give the same command again, which asks for the rest alone",
                    judge.budget, done, inquiry.count, inquiry.what));
  } catch (const Nonsense& nonsense) {
    forget_unreadable(folder, inquiry, known);
    throw core::DataError(judge.url, 0,
                          fmt::format("{}. Nothing more is asked; correct the judge's model or settings. The same command asks for what "
                                      "has no verdict yet (docs/runs.md)",
                                      nonsense.what()));
  }
}

}  // namespace

std::vector<std::string> problems_of(const JudgeServer& judge) {
  return problems_of(judge, core::set_fields(judge));
}

Inquired ask_all(const JudgeServer& judge, const Inquiry& inquiry, const fs::path& folder, const fs::path& requests) {
  http::parse_url(judge.url);  // a wrong address is refused before any work
  core::make_directories(shard_file(folder, 0).parent_path());
  Asking asking(judge, inquiry, requests.empty() ? folder / "ckpt" / "requests" : requests);
  const size_t shard_rows = static_cast<size_t>(judge.parallel) * 4;
  Inquired all;
  core::Progress progress("judge", static_cast<int64_t>(inquiry.count), inquiry.what);
  for (size_t begin = 0; begin < inquiry.count; begin = all.verdicts.size()) {
    const fs::path file = shard_file(folder, begin);
    const size_t rest = inquiry.count - begin;
    std::vector<Answered> shard = fs::exists(file) ? read_shard(file, inquiry, rest) : std::vector<Answered>(std::min(shard_rows, rest));
    if (!std::ranges::all_of(shard, &Answered::asked)) {
      const std::exception_ptr failure = asking.ask_missing(begin, shard);
      core::write_jsonl(file, shard, answered_json);  // keeps earlier answers also after a failure
      const auto asked = static_cast<size_t>(std::ranges::count_if(shard, &Answered::asked));
      if (failure) stop(failure, judge, inquiry, folder, begin + asked, begin + shard.size());
    }
    for (const auto& one : shard) {
      all.verdicts.push_back(one.verdict);
      all.unreadable += one.lack == Lack::unreadable ? 1 : 0;
      all.cut += one.lack == Lack::cut ? 1 : 0;
      all.refused += one.lack == Lack::refused ? 1 : 0;
    }
    progress.update(std::ssize(all.verdicts));
  }
  core::log_info(fmt::format("judge: {} requests sent{}", asking.budget().sent(),
                             judge.budget == 0 ? "" : fmt::format(" of a budget of {}", judge.budget)));
  return all;
}

void try_question(const JudgeServer& judge, const std::string& question, const std::function<bool(const std::string& reply)>& readable) {
  constexpr const char* kTrial = "a judge must answer a trial question before the run begins, and nothing has been computed yet";
  const auto ask = [&] {
    try {
      return ask_once(judge, question, {});
    } catch (const core::UsageError& error) {
      throw core::UsageError(fmt::format("{} ({})", error.what(), kTrial));
    } catch (const core::IoError& error) {
      throw core::IoError(fmt::format("{} ({})", error.what(), kTrial));
    }
  };
  const ChatReply reply = ask();
  const std::string text = reply.text ? without_thoughts(*reply.text) : "";
  if (reply.text && readable(text)) return;
  throw core::DataError(
      judge.url, 0,
      fmt::format("no verdict: {}; {} ({})",
                  reply.text ? fmt::format("the judge replies \"{}\"", shown(text.empty() ? *reply.text : text)) : reply.refusal,
                  reply.cut ? fmt::format("finish_reason \"length\" ends the reply: raise max_tokens ({})", judge.max_tokens)
                            : "correct its model or settings",
                  kTrial));
}

void forget_replies(const fs::path& folder) {
  fs::remove_all(shard_file(folder, 0).parent_path());
}

std::string without_thoughts(const std::string& reply) {
  constexpr std::string_view kBegin = "<think>", kEnd = "</think>";
  const size_t end = reply.rfind(kEnd);
  const std::string rest = end == std::string::npos ? reply : reply.substr(end + kEnd.size());
  return rest.substr(0, rest.find(kBegin));
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
