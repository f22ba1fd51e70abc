#include "data/chat_template.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/error.h"
#include "core/file_kind.h"
#include "core/files.h"
#include "core/gguf.h"
#include "core/json.h"
#include "core/log.h"
#include "data/format_marks.h"
#include "data/template_reader.h"
#include "data/template_steps.h"
#include "data/text.h"

namespace keel::data {
namespace {

namespace fs = std::filesystem;

// A text, or the template named "default" in a list of {"name", "template"} or an object of name to template.
std::optional<std::string> template_text(const nlohmann::json& value, const fs::path& path) {
  if (value.is_null()) return std::nullopt;
  if (value.is_string()) return value.get<std::string>();
  if (value.is_array())
    for (const auto& item : value)
      if (item.is_object() && item.value("name", nlohmann::json()) == "default" && item.contains("template") &&
          item["template"].is_string())
        return item["template"].get<std::string>();
  if (value.is_object() && value.contains("default") && value["default"].is_string()) return value["default"].get<std::string>();
  throw core::DataError(path, 0, "chat_template must be text, or a list of {\"name\", \"template\"} with one named \"default\"");
}

// ---- Unrecognised templates ----

// The default system turn of a template that writes exactly one.
std::string default_system_of(std::string_view code, std::string_view open, std::string_view close) {
  std::string found;
  for (size_t at = code.find(open); at != std::string_view::npos; at = code.find(open, at + 1)) {
    const size_t begin = at + open.size(), end = code.find(close, begin);
    const size_t quote = code.find('\'', begin);
    if (end == std::string_view::npos || quote < end || end == begin) continue;
    const std::string text = with_quotes(code.substr(begin, end - begin));
    if (!found.empty() && found != text) return {};
    found = text;
  }
  return found;
}

// Longer texts of a template that the format used instead leaves out.
std::string other_texts(std::string_view code, const std::string& used) {
  std::string list;
  size_t texts = 0;
  for (size_t at = code.find('\''); at != std::string_view::npos; at = code.find('\'', at)) {
    const size_t end = code.find('\'', at + 1);
    if (end == std::string_view::npos) break;
    const std::string text = single_spaced(with_quotes(code.substr(at + 1, end - at - 1)));
    at = end + 1;
    const bool says_much = std::count(text.begin(), text.end(), ' ') >= 2;
    if (!says_much || (!used.empty() && text.find(single_spaced(used)) != std::string::npos) || texts++ >= 3) continue;
    list += fmt::format("{}\"{}\"", list.empty() ? "" : ", ", text.size() > 80 ? text.substr(0, 80) + "..." : text);
  }
  return list;
}

}  // namespace

std::optional<ChatTemplate> find_chat_template(const fs::path& path) {
  if (fs::is_regular_file(path)) {
    if (!core::MappedFile(path).bytes().starts_with("GGUF")) return std::nullopt;
    const core::GgufFile gguf(path);
    if (!gguf.has("tokenizer.chat_template")) return std::nullopt;
    return ChatTemplate{gguf.text("tokenizer.chat_template"), fmt::format("{}: tokenizer.chat_template", path.string())};
  }
  if (!fs::is_directory(path)) return std::nullopt;
  if (const fs::path file = path / "chat_template.jinja"; fs::is_regular_file(file)) {
    std::string text = core::read_file(file);
    core::refuse_foreign_file(text, file);
    return ChatTemplate{std::move(text), file.string()};
  }
  for (const char* name : {"chat_template.json", "tokenizer_config.json"}) {
    const fs::path file = path / name;
    if (!fs::is_regular_file(file)) continue;
    const nlohmann::json document = core::read_json_file(file);
    const auto found = document.is_object() ? document.find("chat_template") : document.end();
    if (found == document.end()) continue;
    if (const auto text = template_text(*found, file)) return ChatTemplate{*text, fmt::format("{}: chat_template", file.string())};
  }
  return std::nullopt;
}

ChatFormat format_of_template(const ChatTemplate& chat_template) {
  const std::vector<TemplateStep> steps = template_steps(chat_template.text);
  if (auto format = read_template(steps)) {
    const std::string& suffix = format->assistant.suffix;
    if (suffix.find(kEosMark) == std::string::npos && suffix.find('<') == std::string::npos) {
      format->end = kEosMark;
      core::log_warn_once(
          fmt::format("{} writes no end of an answer: keel ends the last answer of a dialogue with EOS", chat_template.origin));
    }
    if (chat_template.text.find("strftime_now") != std::string::npos)
      core::log_warn_once(
          fmt::format("{} writes the date of the day; keel always writes the date that the template has for programs without "
                      "a clock: {}",
                      chat_template.origin, single_spaced(format->system.prefix)));
    return *format;
  }
  std::string code;
  for (const TemplateStep& step : steps)
    code += step.code + "\n";
  ChatFormat format = ChatFormat::none;
  const std::pair<std::string_view, const ChatFormat&> families[] = {
      {"<|start_header_id|>", ChatFormat::llama3}, {"<|im_start|>", ChatFormat::chatml}, {"[INST]", ChatFormat::llama2}};
  const auto family = std::ranges::find_if(families, [&](const auto& one) { return code.find(one.first) != std::string::npos; });
  if (family != std::end(families)) format = family->second;
  if (format == ChatFormat::chatml) format.default_system = default_system_of(code, format.system.prefix, "<|im_end|>");
  std::string warning = fmt::format("{} is not one that keel recognises in full", chat_template.origin);
  if (format == ChatFormat::none)
    warning += "; messages need a chat format that the model knows (--chat FORMAT, in a recipe chat_format)";
  else
    warning += "; its turns are written as " + describe(format);
  if (const std::string left_out = other_texts(code, format.default_system); !left_out.empty()) warning += "; left out are " + left_out;
  core::log_warn_once(warning);
  return format;
}

}  // namespace keel::data
