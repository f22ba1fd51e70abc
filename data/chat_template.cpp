#include "data/chat_template.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/error.h"
#include "core/files.h"
#include "core/gguf.h"
#include "core/json.h"
#include "core/log.h"
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

// ---- Normal form: equal for different spellings of one template ----

// Template code between its delimiters, or text between such pieces.
struct Piece {
  char kind;  // '%' statement, '{' expression, 't' text
  std::string code;
};

// Cuts a template. {%- -%} remove the blanks beside them, {# #} is removed. As transformers configures Jinja, the line break after a
// statement and the blanks before a statement at the start of a line are removed too.
std::vector<Piece> cut_template(std::string_view text) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  std::vector<Piece> pieces;
  bool trim_next = false, after_block = false;
  while (!text.empty()) {
    size_t open = text.find('{');
    while (open != std::string_view::npos && open + 1 < text.size() &&
           std::string_view("%{#").find(text[open + 1]) == std::string_view::npos)
      open = text.find('{', open + 1);
    if (open != std::string_view::npos && open + 1 == text.size()) open = std::string_view::npos;
    std::string between(text.substr(0, open));
    if (trim_next) between.erase(0, std::min(between.find_first_not_of(" \t\r\n"), between.size()));
    if (!trim_next && after_block && between.starts_with('\n')) between.erase(0, 1);
    if (open == std::string_view::npos) {
      pieces.push_back({'t', between});
      break;
    }
    const char kind = text[open + 1];
    const bool trims_before = open + 2 < text.size() && text[open + 2] == '-';
    if (trims_before) {
      between.erase(between.find_last_not_of(" \t\r\n") + 1);
    } else if (kind != '{') {
      const size_t line = between.find_last_not_of(" \t") + 1;
      if (line == 0 ? pieces.empty() || after_block : between[line - 1] == '\n') between.erase(line);
    }
    pieces.push_back({'t', between});
    const std::string close = kind == '%' ? "%}" : kind == '{' ? "}}" : "#}";
    const size_t end = text.find(close, open + 2);
    if (end == std::string_view::npos) return {};  // not a template
    std::string code(text.substr(open + 2, end - open - 2));
    trim_next = code.ends_with('-');
    if (trims_before || code.starts_with('+')) code.erase(0, 1);
    if (trim_next && !code.empty()) code.pop_back();
    if (kind != '#') pieces.push_back({kind, code});
    after_block = kind != '{';
    text.remove_prefix(end + 2);
  }
  return pieces;
}

constexpr char kQuote = '\1';  // a quote inside a string of the normal form

std::string with_quotes(std::string_view text) {
  std::string result(text);
  std::replace(result.begin(), result.end(), kQuote, '\'');
  return result;
}

// Code without blanks outside strings, strings in single quotes with their escapes resolved, m['role'] as m.role, ~ as +, and adjacent
// strings as one.
std::string normal_code(std::string_view code) {
  std::string normal;
  for (size_t i = 0; i < code.size(); ++i) {
    const char c = code[i];
    if (c == '\'' || c == '"') {
      std::string text;
      for (++i; i < code.size() && code[i] != c; ++i) {
        if (code[i] != '\\' || i + 1 == code.size()) {
          text += code[i];
          continue;
        }
        const char escaped = code[++i];
        text += escaped == 'n' ? '\n' : escaped == 't' ? '\t' : escaped;
      }
      std::replace(text.begin(), text.end(), '\'', kQuote);
      const bool is_key = normal.ends_with('[') && i + 1 < code.size() && code[i + 1] == ']';
      if (is_key) {
        normal.pop_back();
        normal += "." + text;
        ++i;
      } else if (normal.ends_with("'+")) {
        normal.erase(normal.size() - 2);
        normal += text + "'";
      } else {
        normal += "'" + text + "'";
      }
    } else if (c == '~') {
      normal += '+';
    } else if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
      const bool word = !normal.empty() && std::isalnum(static_cast<unsigned char>(normal.back())) != 0;
      const size_t next = code.find_first_not_of(" \t\r\n", i);
      if (word && next != std::string_view::npos && (std::isalnum(static_cast<unsigned char>(code[next])) != 0 || code[next] == '_'))
        normal += ' ';
      i = std::min(next, code.size()) - 1;
    } else {
      normal += c;
    }
  }
  return normal;
}

// The template in one line: statements as %...%, its output as expressions joined by '+' between braces.
std::string normal_form(std::string_view text) {
  std::string normal, written;
  const auto flush = [&] {
    if (!written.empty()) normal += "{" + normal_code(written) + "}";
    written.clear();
  };
  for (const Piece& piece : cut_template(text)) {
    if (piece.code.empty()) continue;
    if (piece.kind == '%') {
      flush();
      std::string code = normal_code(piece.code);
      normal += "%" + code + "%";
      continue;
    }
    std::string part = piece.code;
    if (piece.kind == 't') {
      std::string quoted;
      for (const char c : part)
        quoted += c == '\'' || c == '\\' ? std::string("\\") + c : std::string(1, c);
      part = "'" + quoted + "'";
    }
    written += (written.empty() ? "" : "+") + part;
  }
  flush();
  return normal;
}

// ---- The forms of each format ----

// Removes the prefix `start` from `text`; false if it is not there.
bool take(std::string_view& text, std::string_view start) {
  if (!text.starts_with(start)) return false;
  text.remove_prefix(start.size());
  return true;
}

bool take_any(std::string_view& text, std::initializer_list<std::string_view> starts) {
  return std::any_of(starts.begin(), starts.end(), [&](std::string_view start) { return take(text, start); });
}

// `start`, any text without a quote, `end`.
std::optional<std::string> take_between(std::string_view& text, std::string_view start, std::string_view end) {
  if (!text.starts_with(start)) return std::nullopt;
  const size_t stop = text.find(end, start.size());
  if (stop == std::string_view::npos) return std::nullopt;
  const std::string_view found = text.substr(start.size(), stop - start.size());
  if (found.find('\'') != std::string_view::npos) return std::nullopt;
  text.remove_prefix(stop + end.size());
  return with_quotes(found);
}

std::optional<ChatFormat> match_chatml(std::string_view form) {
  ChatFormat format = ChatFormat::chatml;
  take_any(form, {"%if not add_generation_prompt is defined%%set add_generation_prompt=false%%endif%",
                  "%if add_generation_prompt is not defined%%set add_generation_prompt=false%%endif%",
                  "%if not add_generation_prompt is defined%%set add_generation_prompt=False%%endif%"});
  take(form, "{bos_token}");
  // A default system turn before the loop, or in its first round.
  constexpr std::string_view kOpen = "{'<|im_start|>system\n", kClose = "<|im_end|>\n'}%endif%";
  const auto default_turn = [&](std::initializer_list<std::string_view> conditions) {
    for (const std::string_view condition : conditions) {
      std::string_view rest = form;
      if (!take(rest, condition)) continue;
      const auto text = take_between(rest, kOpen, kClose);
      if (!text) continue;
      format.default_system = *text;
      form = rest;
    }
  };
  default_turn({"%if messages[0].role!='system'%", "%if not messages[0].role=='system'%"});
  if (!take(form, "%for message in messages%")) return std::nullopt;
  if (format.default_system.empty())
    default_turn({"%if loop.first and messages[0].role!='system'%", "%if loop.first and message.role!='system'%",
                  "%if(loop.first and messages[0].role!='system')%", "%if loop.index0==0 and message.role!='system'%",
                  "%if loop.first and not message.role=='system'%"});
  if (!take_any(form, {"{'<|im_start|>'+message.role+'\n'+message.content+'<|im_end|>\n'}",
                       "{('<|im_start|>'+message.role+'\n'+message.content+'<|im_end|>\n')}",
                       "{'<|im_start|>'+message.role+'\n'+message.content+'<|im_end|>'+'\n'}"}))
    return std::nullopt;
  if (!take(form, "%endfor%")) return std::nullopt;
  if (take(form, "%if add_generation_prompt%"))
    if (!take(form, "{'<|im_start|>assistant\n'}%endif%")) return std::nullopt;
  if (!form.empty()) return std::nullopt;
  return format;
}

// The template of Llama-2-Chat and of those written after it.
std::optional<ChatFormat> match_llama2(std::string_view form) {
  ChatFormat format = ChatFormat::llama2;
  if (!take(form, "%if messages[0].role=='system'%%set loop_messages=messages[1:]%%set system_message=messages[0].content%"))
    return std::nullopt;
  // The condition has true or false in place of "use_default_system_prompt".
  for (const bool used : {true, false}) {
    std::string_view rest = form;
    if (!take(rest, used ? "%elif true==true and not'<<SYS>>'in messages[0].content%"
                         : "%elif false==true and not'<<SYS>>'in messages[0].content%"))
      continue;
    if (!take(rest, "%set loop_messages=messages%")) return std::nullopt;
    const auto text = take_between(rest, "%set system_message='", "'%");
    if (!text) return std::nullopt;
    if (used) format.default_system = *text;
    form = rest;
  }
  take(form, "%else%%set loop_messages=messages%%set system_message=false%");
  if (!take(form, "%endif%%for message in loop_messages%")) return std::nullopt;
  if (take(form, "%if(message.role=='user')!=(loop.index0%2==0)%")) {  // roles out of turn are refused in keel as well
    const size_t end = form.find("%endif%");
    if (end == std::string_view::npos) return std::nullopt;
    form.remove_prefix(end + 7);
  }
  if (!take_any(form, {"%if loop.index0==0 and system_message!=false%", "%if loop.first and system_message%",
                       "%if loop.index0==0 and system_message%"}))
    return std::nullopt;
  if (!take(form, "%set content='<<SYS>>\n'+system_message+'\n<</SYS>>\n\n'+message.content%%else%%set content=message.content%%endif%"))
    return std::nullopt;
  if (!take_any(form, {"%if message.role=='user'%{bos_token+'[INST] '+content.strip()+' [/INST]'}",
                       "%if message.role=='user'%{bos_token+'[INST] '+content|trim+' [/INST]'}"}))
    return std::nullopt;
  if (take(form, "%elif message.role=='system'%")) {  // a second system turn, which keel refuses
    const size_t end = form.find("%elif");
    if (end == std::string_view::npos) return std::nullopt;
    form.remove_prefix(end);
  }
  if (!take_any(form, {"%elif message.role=='assistant'%{' '+content.strip()+' '+eos_token}",
                       "%elif message.role=='assistant'%{' '+content|trim+' '+eos_token}"}))
    return std::nullopt;
  if (form != "%endif%%endfor%") return std::nullopt;
  return format;
}

// ---- Unrecognised templates ----

// The default system turn of a template that writes exactly one.
std::string default_system_of(std::string_view form, std::string_view open, std::string_view close) {
  std::string found;
  for (size_t at = form.find(open); at != std::string_view::npos; at = form.find(open, at + 1)) {
    const size_t begin = at + open.size(), end = form.find(close, begin);
    const size_t quote = form.find('\'', begin);
    if (end == std::string_view::npos || quote < end || end == begin) continue;
    const std::string text = with_quotes(form.substr(begin, end - begin));
    if (!found.empty() && found != text) return {};
    found = text;
  }
  return found;
}

// Longer texts of a template that the format used instead leaves out.
std::string other_texts(std::string_view form, const std::string& used) {
  std::string list;
  size_t texts = 0;
  for (size_t at = form.find('\''); at != std::string_view::npos; at = form.find('\'', at)) {
    const size_t end = form.find('\'', at + 1);
    if (end == std::string_view::npos) break;
    const std::string text = single_spaced(with_quotes(form.substr(at + 1, end - at - 1)));
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
  if (const fs::path file = path / "chat_template.jinja"; fs::is_regular_file(file))
    return ChatTemplate{core::read_file(file), file.string()};
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
  const std::string form = normal_form(chat_template.text);
  if (const auto format = match_chatml(form)) return *format;
  if (const auto format = match_llama2(form)) return *format;
  ChatFormat format = ChatFormat::none;
  if (form.find("<|im_start|>") != std::string::npos) {
    format = ChatFormat::chatml;
    format.default_system = default_system_of(form, "<|im_start|>system\n", "<|im_end|>");
  } else if (form.find("[INST]") != std::string::npos) {
    format = ChatFormat::llama2;
  }
  std::string warning = fmt::format("{} is not one that keel recognises in full", chat_template.origin);
  if (format == ChatFormat::none)
    warning += "; messages need --chat FORMAT, with a format that the model knows";
  else
    warning += "; its turns are written as " + describe(format);
  if (const std::string left_out = other_texts(form, format.default_system); !left_out.empty()) warning += "; left out are " + left_out;
  core::log_warn_once(warning);
  return format;
}

}  // namespace keel::data
