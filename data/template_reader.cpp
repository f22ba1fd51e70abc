#include "data/template_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <map>
#include <string_view>

#include "data/format_marks.h"
#include "data/text.h"

namespace keel::data {
namespace {

// keel gives a template messages of the three roles, text alone, no tools and no date. What it does then is known from the conditions.
const std::map<std::string_view, bool>& known_conditions() {
  static const std::map<std::string_view, bool> known = {
      {"tools", false},
      {"tools is not none", false},
      {"tools is not none and not tools_in_user_message", false},
      {"tools_in_user_message and not tools is none", false},
      {"custom_tools is defined", false},
      {"builtin_tools is defined", false},
      {"builtin_tools is defined or tools is not none", false},
      {"strftime_now is defined", false},  // the date of the day would make ids differ from day to day
      {"not tools is defined", true},
      {"not tools_in_user_message is defined", true},
      {"not date_string is defined", true},
      {"not add_generation_prompt is defined", true},
      {"add_generation_prompt is not defined", true},
      {"not(message.role=='ipython'or message.role=='tool'or'tool_calls'in message)", true}};
  return known;
}

// The steps that are left when known_conditions() are decided. Settings of what only those read are left out, outputs in a row are joined.
std::vector<TemplateStep> decided(const std::vector<TemplateStep>& steps) {
  std::vector<TemplateStep> left;
  struct Block {
    bool known, taken, live;  // known: decided here; taken: one of its branches was; live: the steps around it are kept
  };
  std::vector<Block> open;
  bool live = true;
  const auto keep = [&](const TemplateStep& step) {
    if (!live) return;
    if (step.writes && !left.empty() && left.back().writes)
      left.back().code += "+" + step.code;
    else
      left.push_back(step);
  };
  const auto truth = [](std::string_view condition) -> std::optional<bool> {
    const auto found = known_conditions().find(condition);
    return found == known_conditions().end() ? std::nullopt : std::optional(found->second);
  };
  for (const TemplateStep& step : steps) {
    const std::string_view code = step.writes ? "" : std::string_view(step.code);
    if (code.starts_with("if") && !code.starts_with("ifchanged")) {
      const auto value = truth(code.substr(code.starts_with("if ") ? 3 : 2));
      open.push_back({value.has_value(), value.value_or(false), live});
      if (value) {
        live = live && *value;
      } else {
        keep(step);
      }
    } else if ((code.starts_with("elif") || code == "else") && !open.empty() && open.back().known) {
      live = open.back().live && !open.back().taken && code == "else";
    } else if (code == "endif" && !open.empty()) {
      if (!open.back().known) keep(step);
      live = open.back().live;
      open.pop_back();
    } else if (!code.starts_with("set tools") && !code.starts_with("set add_generation_prompt=")) {
      keep(step);
    }
  }
  return left;
}

// A part of what a template writes.
struct Term {
  enum Kind { text, bos, eos, role, content, system } kind;
  std::string value = {};
  bool stripped = false;
};
using Terms = std::vector<Term>;

// The parts of an expression joined by +, outside strings and parentheses.
std::vector<std::string_view> summands(std::string_view code) {
  std::vector<std::string_view> parts;
  size_t begin = 0;
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < code.size(); ++i) {
    if (code[i] == '\'') in_string = !in_string;
    if (in_string) continue;
    depth += code[i] == '(' ? 1 : code[i] == ')' ? -1 : 0;
    if (code[i] != '+' || depth != 0) continue;
    parts.push_back(code.substr(begin, i - begin));
    begin = i + 1;
  }
  parts.push_back(code.substr(begin));
  return parts;
}

// nullopt for anything but texts, the two special tokens, role and content of a message, and what `system_message` holds.
std::optional<Terms> terms_of(std::string_view code, const Terms& system_message = {{Term::system}}) {
  Terms terms;
  for (std::string_view part : summands(code)) {
    bool stripped = false;
    for (const std::string_view filter : {"|trim", ".strip()"})
      if (part.ends_with(filter)) part.remove_suffix(filter.size()), stripped = true;
    if (part.size() > 2 && part.front() == '(' && part.back() == ')') {
      const auto inner = terms_of(part.substr(1, part.size() - 2), system_message);
      if (!inner || stripped) return std::nullopt;
      terms.insert(terms.end(), inner->begin(), inner->end());
    } else if (part.size() >= 2 && part.front() == '\'' && part.find('\'', 1) == part.size() - 1) {
      if (stripped) return std::nullopt;
      terms.push_back({Term::text, with_quotes(part.substr(1, part.size() - 2))});
    } else if (part == "bos_token" || part == "eos_token") {
      terms.push_back({part == "bos_token" ? Term::bos : Term::eos});
    } else if (part == "message.role") {
      terms.push_back({Term::role});
    } else if (part == "message.content" || part == "content") {
      terms.push_back({Term::content, {}, stripped});
    } else if (part == "messages[0].content") {
      terms.push_back({Term::system, {}, stripped});
    } else if (part == "system_message") {
      terms.insert(terms.end(), system_message.begin(), system_message.end());
      if (stripped) terms.back().stripped = true;
    } else {
      return std::nullopt;
    }
  }
  return terms;
}

// The terms as a declared text; nullopt if one of them is a content.
std::optional<std::string> declared(const Terms& terms, std::string_view role) {
  std::string text;
  for (const Term& term : terms) {
    if (term.kind == Term::content || term.kind == Term::system) return std::nullopt;
    text += term.kind == Term::bos    ? std::string(kBosMark)
            : term.kind == Term::eos  ? std::string(kEosMark)
            : term.kind == Term::role ? std::string(role)
                                      : term.value;
  }
  return text;
}

struct Turn {
  TurnTexts texts;
  bool stripped = false;
};

// The texts around the one content of the terms.
std::optional<Turn> turn_of(const Terms& terms, Term::Kind content, std::string_view role) {
  const auto at = std::ranges::find(terms, content, &Term::kind);
  if (at == terms.end()) return std::nullopt;
  const auto prefix = declared({terms.begin(), at}, role), suffix = declared({at + 1, terms.end()}, role);
  if (!prefix || !suffix) return std::nullopt;
  return Turn{{*prefix, *suffix}, at->stripped};
}

// {% set date_string = '26 Jul 2024' %}: the text in place of the name.
std::vector<TemplateStep> with_date(std::vector<TemplateStep> steps) {
  constexpr std::string_view kSet = "set date_string=", kName = "date_string";
  const auto set = std::ranges::find_if(steps, [&](const TemplateStep& step) { return !step.writes && step.code.starts_with(kSet); });
  if (set == steps.end()) return steps;
  const std::string date = set->code.substr(kSet.size());
  steps.erase(set);
  for (TemplateStep& step : steps)
    if (const size_t at = step.code.find(kName); step.writes && at != std::string::npos) step.code.replace(at, kName.size(), date);
  return steps;
}

// Walks through the steps of a template. Each member takes what it names, or takes nothing.
class Steps {
 public:
  explicit Steps(std::vector<TemplateStep> steps) : steps_(std::move(steps)) {}

  bool at_end() const { return next_ == steps_.size(); }
  size_t place() const { return next_; }
  void back_to(size_t place) { next_ = place; }

  bool statement(std::string_view code) {
    if (!at_end() && !steps_[next_].writes && steps_[next_].code == code) return ++next_, true;
    return false;
  }
  bool any_statement(std::initializer_list<std::string_view> codes) {
    return std::ranges::any_of(codes, [&](std::string_view code) { return statement(code); });
  }
  std::optional<std::string> statement_after(std::string_view start) {
    if (at_end() || steps_[next_].writes || !steps_[next_].code.starts_with(start)) return std::nullopt;
    return steps_[next_++].code.substr(start.size());
  }
  std::optional<std::string> output() {
    if (at_end() || !steps_[next_].writes) return std::nullopt;
    return steps_[next_++].code;
  }

 private:
  std::vector<TemplateStep> steps_;
  size_t next_ = 0;
};

// What stands before the loop over the messages.
struct Head {
  bool bos = false;
  std::optional<Terms> system;           // written before the loop where there is a system turn
  std::optional<std::string> otherwise;  // written there where there is none
  bool system_in_loop = false;           // system_message is kept for the loop
  Terms message;                         // what system_message holds where there is a system turn
  std::string default_message;           // its text where there is no system turn
};

// {{ system_message }}, with the texts around it.
bool write_system(const std::string& output, Head& head) {
  const auto with = terms_of(output, head.message), without = terms_of(output, {{Term::text, head.default_message}});
  const auto otherwise = without ? declared(*without, "") : std::nullopt;
  if (!with || !otherwise) return false;
  head.system = *with, head.otherwise = *otherwise, head.system_in_loop = false;
  return true;
}

// What a branch on the system turn sets as system_message, and what it writes.
struct Branch {
  std::optional<Terms> message;
  Terms written;
};

bool read_branch(Steps& steps, Branch& branch) {
  for (;;) {
    if (steps.any_statement({"set loop_messages=messages[1:]", "set loop_messages=messages", "set messages=messages[1:]"})) continue;
    if (const auto code = steps.statement_after("set system_message=")) {
      const bool empty = *code == "false" || *code == "False" || *code == "none" || *code == "''";
      branch.message = empty ? Terms{} : terms_of(*code);
      if (!branch.message) return false;
    } else if (const auto output = steps.output()) {
      const auto terms = terms_of(*output);
      if (!terms) return false;
      branch.written = *terms;
    } else {
      return true;
    }
  }
}

// "{% if messages[0] is the system turn %} ... {% else %} ... {% endif %}", and what is written of it afterwards.
bool read_system_branch(Steps& steps, Head& head) {
  steps.statement("set loop_messages=messages");
  if (!steps.statement("if messages[0].role=='system'")) return true;
  Branch given, chosen, otherwise;
  if (!read_branch(steps, given)) return false;
  // Llama 2's: the condition has true or false in place of "use_default_system_prompt".
  const bool used = steps.statement("elif true==true and not'<<SYS>>'in messages[0].content");
  if (used || steps.statement("elif false==true and not'<<SYS>>'in messages[0].content"))
    if (!read_branch(steps, chosen)) return false;
  if (steps.statement("else") && !read_branch(steps, otherwise)) return false;
  if (!steps.statement("endif")) return false;
  if (used) otherwise.message = chosen.message;
  const auto message = declared(otherwise.message.value_or(Terms{}), ""), written = declared(otherwise.written, "");
  if (!message || !written) return false;
  head.default_message = *message;
  if (!given.written.empty()) {
    head.system = given.written, head.otherwise = *written;
    return !given.message && !otherwise.message;
  }
  if (!given.message) return false;
  head.message = *given.message;
  if (const auto output = steps.output()) return write_system(*output, head);
  head.system_in_loop = true;
  return true;
}

// "{% if add_generation_prompt %} ... {% endif %}", at the end of the loop or behind it.
bool read_generation_prompt(Steps& steps, std::initializer_list<std::string_view> conditions, std::optional<std::string>& prompt) {
  if (!steps.any_statement(conditions)) return true;
  const auto output = steps.output();
  const auto terms = output ? terms_of(*output) : std::nullopt;
  prompt = terms ? declared(*terms, "assistant") : std::nullopt;
  return prompt && steps.statement("endif");
}

// A default system turn before a dialogue without one: the whole text that is written.
bool read_default_turn(Steps& steps, std::string& text) {
  if (!steps.any_statement({"if messages[0].role!='system'", "if not messages[0].role=='system'",
                            "if loop.first and messages[0].role!='system'", "if loop.first and message.role!='system'",
                            "if(loop.first and messages[0].role!='system')", "if loop.index0==0 and message.role!='system'",
                            "if loop.first and not message.role=='system'"}))
    return true;
  const auto output = steps.output();
  const auto terms = output ? terms_of(*output) : std::nullopt;
  const auto written = terms ? declared(*terms, "system") : std::nullopt;
  if (!written || !steps.statement("endif")) return false;
  text = *written;
  return true;
}

// The turns that the loop writes, by role.
struct Turns {
  std::map<std::string, Turn> by_role;
  bool bos_before_first = false;
};

// One expression for all roles, with the name of the role in it.
bool read_common_turn(const Terms& terms, Turns& turns) {
  if (std::ranges::count(terms, Term::role, &Term::kind) == 0) return false;
  for (const char* role : {"system", "user", "assistant"}) {
    const auto turn = turn_of(terms, Term::content, role);
    if (!turn) return false;
    turns.by_role[role] = *turn;
  }
  return true;
}

// {% if message.role == 'user' %} ... {% elif ... %} ... {% else %} ... {% endif %}.
bool read_turn_by_role(Steps& steps, Turns& turns) {
  const auto raises = [](const std::string& code) { return code.starts_with("raise_exception("); };
  for (bool first = true;; first = false) {
    if (!first && steps.statement("endif")) return !turns.by_role.empty();
    std::vector<std::string> roles;
    if (!first && steps.statement("else")) {
      for (const char* role : {"system", "user", "assistant"})
        if (!turns.by_role.contains(role)) roles.emplace_back(role);
    } else {
      auto condition = steps.statement_after(first ? "if" : "elif");
      if (!condition) return false;
      if (condition->starts_with("(") && condition->ends_with(")")) condition = condition->substr(1, condition->size() - 2);
      const std::string_view code = data::strip(*condition);
      for (const char* role : {"system", "user", "assistant"})
        if (code == fmt::format("message.role=='{}'", role)) roles.emplace_back(role);
      if (roles.empty()) return false;
    }
    // Tulu's: without the line break behind the last answer, which keel never writes.
    const bool by_place = roles == std::vector<std::string>{"assistant"} && steps.statement("if not loop.last");
    const auto output = steps.output();
    if (!output) return false;
    if (by_place) {
      if (!steps.statement("else")) return false;
      const auto last = steps.output();
      if (!last || !steps.statement("endif") || *last + "+'\n'" != *output) return false;
    }
    if (raises(*output)) continue;
    const auto terms = terms_of(*output);
    if (!terms || (roles.size() != 1)) return false;
    const auto turn = turn_of(*terms, Term::content, roles[0]);
    if (!turn) return false;
    turns.by_role[roles[0]] = *turn;
  }
}

// Skips {% if ROLES ARE OUT OF TURN %}{{ raise_exception(...) }}{% endif %}: keel refuses such dialogues too.
bool skip_role_check(Steps& steps) {
  if (!steps.statement("if(message.role=='user')!=(loop.index0%2==0)")) return true;
  return steps.output().has_value() && steps.statement("endif");
}

// Llama 2's: the system turn in the first user turn.
bool read_system_in_first_user(Steps& steps, std::optional<Turn>& system) {
  if (!steps.any_statement(
          {"if loop.index0==0 and system_message!=false", "if loop.first and system_message", "if loop.index0==0 and system_message"}))
    return true;
  const auto code = steps.statement_after("set content=");
  const auto terms = code ? terms_of(*code) : std::nullopt;
  if (!terms || terms->empty() || terms->back().kind != Term::content || terms->back().stripped) return false;
  system = turn_of({terms->begin(), terms->end() - 1}, Term::system, "system");
  return system && steps.statement("else") && steps.statement("set content=message.content") && steps.statement("endif");
}

// Vicuna's: {% if loop.index0 == 0 %}{{ system_message }}{% endif %}.
bool read_system_in_loop(Steps& steps, Head& head) {
  const size_t place = steps.place();
  if (head.system_in_loop && steps.any_statement({"if loop.index0==0", "if loop.first"}))
    if (const auto output = steps.output()) return write_system(*output, head) && steps.statement("endif");
  steps.back_to(place);
  return true;
}

bool read_loop(Steps& steps, Turns& turns, Head& head, std::optional<Turn>& in_user, std::string& default_turn,
               std::optional<std::string>& prompt) {
  if (!steps.any_statement({"for message in messages", "for message in loop_messages"})) return false;
  if (!skip_role_check(steps) || !read_default_turn(steps, default_turn) || !read_system_in_loop(steps, head) ||
      !read_system_in_first_user(steps, in_user))
    return false;
  if (const auto code = steps.statement_after("set content=")) {  // Llama 3's
    const auto terms = terms_of(*code);
    if (!terms || !read_common_turn(*terms, turns)) return false;
    if (steps.any_statement({"if loop.index0==0", "if loop.first"})) {
      if (!steps.statement("set content=bos_token+content") || !steps.statement("endif")) return false;
      turns.bos_before_first = true;
    }
    if (steps.output() != "content") return false;
  } else if (const auto output = steps.output()) {
    const auto terms = terms_of(*output);
    if (!terms || !read_common_turn(*terms, turns)) return false;
  } else if (!read_turn_by_role(steps, turns)) {
    return false;
  }
  return read_generation_prompt(steps,
                                {"if loop.last and add_generation_prompt", "if(loop.last and add_generation_prompt)",
                                 "if loop.last and message.role=='user'and add_generation_prompt",
                                 "if loop.last and message.role!='assistant'and add_generation_prompt"},
                                prompt) &&
         steps.statement("endfor");
}

// `text` without `start` and `end`; nullopt if it has not both.
std::optional<std::string> between(const std::string& text, const std::string& start, const std::string& end) {
  if (text.size() < start.size() + end.size() || !text.starts_with(start) || !text.ends_with(end)) return std::nullopt;
  return text.substr(start.size(), text.size() - start.size() - end.size());
}

// The built-in format with the same texts gives its name, tokens and tags.
void name_(ChatFormat& format) {
  for (const std::string& name : chat_format_names()) {
    ChatFormat known = parse_chat_format(name);
    known.default_system = format.default_system, known.bos = format.bos;
    format.name = name, format.tokens = known.tokens, format.tags = known.tags;
    if (format == known) return;
  }
  format.name = "template", format.tokens.clear(), format.tags = prefixes_of(format);
}

}  // namespace

std::optional<ChatFormat> read_template(const std::vector<TemplateStep>& code) {
  Steps steps(with_date(decided(code)));
  Head head;
  Turns turns;
  std::optional<Turn> in_user;
  std::optional<std::string> prompt;
  std::string default_turn;
  const size_t start = steps.place();
  if (steps.output() == "bos_token")
    head.bos = true;
  else
    steps.back_to(start);
  if (!read_default_turn(steps, default_turn) || !read_system_branch(steps, head) ||
      !read_loop(steps, turns, head, in_user, default_turn, prompt) ||
      !read_generation_prompt(steps, {"if add_generation_prompt"}, prompt) || !steps.at_end())
    return std::nullopt;

  ChatFormat format;
  if (!turns.by_role.contains("user") || !turns.by_role.contains("assistant")) return std::nullopt;
  const Turn& user = turns.by_role["user"];
  const Turn& assistant = turns.by_role["assistant"];
  std::optional<Turn> system;
  if (turns.by_role.contains("system")) system = turns.by_role["system"];
  format.user = user.texts, format.assistant = assistant.texts;
  format.strip = user.stripped;
  if (assistant.stripped != user.stripped) return std::nullopt;
  format.bos = head.bos || turns.bos_before_first ? BosRule::once : BosRule::never;

  if (head.system) {  // the loop then sees no system turn
    system = turn_of(*head.system, Term::system, "system");
    if (!system || !head.otherwise) return std::nullopt;
    // A BOS in front of both is the dialogue's.
    if (system->texts.prefix.starts_with(kBosMark) && head.otherwise->starts_with(kBosMark)) {
      format.bos = BosRule::once;
      system->texts.prefix.erase(0, kBosMark.size()), head.otherwise->erase(0, kBosMark.size());
    }
    if (!head.otherwise->empty()) default_turn = *head.otherwise;
  }
  if (in_user || head.system_in_loop) {
    const bool plain = head.message.size() == 1 && head.message[0].kind == Term::system && !head.message[0].stripped;
    if (!in_user || !head.system_in_loop || !plain) return std::nullopt;
    format.system_place = SystemPlace::first_user;
    format.system = in_user->texts;
    format.default_system = head.default_message;
  } else if (system) {
    format.system = system->texts;
    format.strip_system = system->stripped;
    if (!default_turn.empty()) {
      const auto text = between(default_turn, format.system.prefix, format.system.suffix);
      if (!text) return std::nullopt;
      format.default_system = *text;
      if (text->empty()) format.system_place = SystemPlace::always;
    }
  } else {
    if (!default_turn.empty()) return std::nullopt;
    format.system_place = SystemPlace::none;
  }

  const bool blank = strip(format.assistant.prefix).empty();
  format.generation_prompt = prompt.value_or(blank ? "" : format.assistant.prefix);
  if (!format.assistant.prefix.starts_with(format.generation_prompt)) return std::nullopt;
  name_(format);
  return format;
}

}  // namespace keel::data
