#include "red_team/requests.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <set>
#include <stdexcept>

#include "core/jsonl.h"
#include "data/messages.h"
#include "data/preferences.h"
#include "data/prompts.h"
#include "data/text.h"
#include "sandbox/prompts.h"
#include "sandbox/tasks.h"

namespace keel::red_team {
namespace {

using nlohmann::json;

// The part of a row that is no text of the prompt.
json without_text(json row) {
  for (const char* name : {"messages", "prompt", "ids", "response"})
    row.erase(name);
  return row;
}

Request sandbox_request(const sandbox::World& world, const sandbox::PromptInfo& prompt) {
  const sandbox::Task task = sandbox::parse_task(world, prompt.task);
  Request request{.id = prompt.task, .category = prompt.category, .text = {}, .telling = {}, .row = {}};
  const size_t core = prompt.wording.empty() ? 0 : std::min<size_t>(2, static_cast<size_t>(std::max(0, prompt.wording[0] - '0')));
  request.text = sandbox::question(task, core, &request.telling);
  return request;
}

Request plain_request(const json& row) {
  const data::PromptRecord record = data::parse_prompt_record(row);
  if (record.ids) throw std::invalid_argument("a request is needed as {\"prompt\"} or {\"messages\"}, got {\"ids\"}");
  if (record.messages && (record.messages->messages.size() != 1 || record.messages->messages[0].role != "user"))
    throw std::invalid_argument("\"messages\" of a request must be one user turn; turns around it belong into an attack, see --attacks");
  Request request{
      .id = data::optional_text(row, "id"), .category = data::optional_text(row, "category"), .text = {}, .telling = {}, .row = {}};
  request.text = data::strip(record.text ? *record.text : record.messages->messages[0].content);
  if (request.text.empty()) throw std::invalid_argument("the request is empty");
  if (request.id.empty()) request.id = normalised(request.text);
  if (request.category.empty()) request.category = "other";
  if (std::find(categories().begin(), categories().end(), request.category) == categories().end())
    throw std::invalid_argument(fmt::format("\"category\" must be one of {}, got \"{}\"", fmt::join(categories(), ", "), request.category));
  return request;
}

}  // namespace

const std::vector<std::string>& categories() {
  static const std::vector<std::string> all = {"illicit", "hateful", "unqualified", "other"};
  return all;
}

RequestSet read_requests(const std::filesystem::path& file, const std::optional<sandbox::World>& world) {
  RequestSet set;
  std::set<std::string> seen;
  core::JsonlReader reader(file);
  for (json row; reader.next(row);)
    data::with_place(reader.path(), reader.line(), [&] {
      if (data::parse_label(row, "hazard") == false) return void(++set.counts.dropped["harmless"]);
      Request request = world ? sandbox_request(*world, sandbox::prompt_from_json(row, reader.path(), reader.line())) : plain_request(row);
      if (!seen.insert(request.id).second) return void(++set.counts.dropped["repeated"]);
      request.row = without_text(row);
      set.counts.kept += 1;
      set.requests.push_back(std::move(request));
    });
  if (set.requests.empty()) throw core::DataError(file, 0, "holds no request to try: every row says \"hazard\": false, or there is none");
  return set;
}

std::string normalised(std::string_view text) {
  constexpr std::string_view kSymbols = "+#$%&@=<>/\\^|";
  std::string result;
  bool inside = false;  // of a word
  for (const char c : text) {
    const bool symbol = kSymbols.find(c) != std::string_view::npos;
    const bool letter = std::isalnum(static_cast<unsigned char>(c)) != 0 || static_cast<unsigned char>(c) >= 0x80;
    if ((symbol || (letter && !inside)) && !result.empty()) result += ' ';
    if (symbol || letter) result += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    inside = letter;
  }
  return result;
}

}  // namespace keel::red_team
