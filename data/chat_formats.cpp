// The built-in chat formats, and formats as JSON.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/files.h"
#include "data/chat_format.h"
#include "data/format_marks.h"
#include "data/text.h"

namespace keel::data {

namespace {

ChatFormat turns(std::string name, SystemPlace place, TurnTexts system, TurnTexts user, TurnTexts assistant) {
  ChatFormat format{.name = std::move(name),
                    .system_place = place,
                    .system = std::move(system),
                    .user = std::move(user),
                    .assistant = std::move(assistant)};
  format.generation_prompt = format.assistant.prefix;
  return format;
}

ChatFormat make_llama2() {
  ChatFormat format =
      turns("llama2", SystemPlace::first_user, {"<<SYS>>\n", "\n<</SYS>>\n\n"}, {"{bos}[INST] ", " [/INST]"}, {" ", " {eos}"});
  format.bos = BosRule::never;  // each user turn has its own
  format.generation_prompt = "";
  format.strip = true;
  format.tags = {"[INST]", "[/INST]", "<<SYS>>", "<</SYS>>"};
  return format;
}

ChatFormat make_llama3() {
  const auto turn = [](std::string_view role) {
    return TurnTexts{fmt::format("<|start_header_id|>{}<|end_header_id|>\n\n", role), "<|eot_id|>"};
  };
  ChatFormat format = turns("llama3", SystemPlace::turn, turn("system"), turn("user"), turn("assistant"));
  format.bos = BosRule::once;
  format.strip = format.strip_system = true;
  format.tokens = {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"};
  return format;
}

ChatFormat make_chatml() {
  const auto turn = [](std::string_view role) { return TurnTexts{fmt::format("<|im_start|>{}\n", role), "<|im_end|>\n"}; };
  ChatFormat format = turns("chatml", SystemPlace::turn, turn("system"), turn("user"), turn("assistant"));
  format.tokens = {"<|im_start|>", "<|im_end|>"};
  return format;
}

ChatFormat make_zephyr() {
  const auto turn = [](std::string_view role) { return TurnTexts{fmt::format("<|{}|>\n", role), "{eos}\n"}; };
  ChatFormat format = turns("zephyr", SystemPlace::turn, turn("system"), turn("user"), turn("assistant"));
  format.bos = BosRule::never;
  format.tags = {"<|system|>", "<|user|>", "<|assistant|>"};
  return format;
}

ChatFormat make_vicuna() {
  ChatFormat format = turns("vicuna", SystemPlace::turn, {"", " "}, {"USER: ", " "}, {"ASSISTANT: ", "{eos}"});
  format.bos = BosRule::once;
  format.generation_prompt = "ASSISTANT:";
  format.strip = format.strip_system = true;
  format.default_system =
      "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers "
      "to "
      "the user's questions.";
  format.tags = {"USER:", "ASSISTANT:"};
  return format;
}

ChatFormat make_alpaca() {
  ChatFormat format = turns("alpaca", SystemPlace::turn, {"", "\n\n"}, {"### Instruction:\n", "\n\n"}, {"### Response:\n", "{eos}\n\n"});
  format.bos = BosRule::once;
  format.default_system = "Below is an instruction that describes a task. Write a response that appropriately completes the request.";
  format.tags = {"### Instruction:", "### Response:"};
  return format;
}

ChatFormat make_hh() {
  ChatFormat format = turns("hh", SystemPlace::none, {}, {"\n\nHuman: ", ""}, {"\n\nAssistant: ", ""});
  format.generation_prompt = "\n\nAssistant:";
  format.end = "{eos}";
  format.strip = true;
  format.tags = {"\n\nHuman:", "\n\nAssistant:"};
  return format;
}

const ChatFormat* built_in(std::string_view name) {
  for (const ChatFormat* format : {&ChatFormat::none, &ChatFormat::llama2, &ChatFormat::llama3, &ChatFormat::chatml, &ChatFormat::zephyr,
                                   &ChatFormat::vicuna, &ChatFormat::alpaca, &ChatFormat::hh})
    if (format->name == name) return format;
  return nullptr;
}

// Fills in what a declaration leaves to the rule of its field, and says what is wrong with it.
void complete_(ChatFormat& format, const nlohmann::json& given, const std::string& origin, std::vector<std::string>& problems) {
  const auto has = [&](const char* name) { return given.is_object() && given.contains(name); };
  if (!has("generation_prompt")) format.generation_prompt = format.assistant.prefix;
  if (!has("tokens") && !has("tags")) format.tags = prefixes_of(format);
  if (built_in(format.name) != nullptr)
    problems.push_back(fmt::format("{}.name: \"{}\" is a built-in format; choose another name", origin, format.name));
  if (format.user == format.assistant) problems.push_back(origin + ": user and assistant turns must differ in their texts");
  if (!format.assistant.prefix.starts_with(format.generation_prompt))
    problems.push_back(origin + ".generation_prompt must be the beginning of assistant.prefix");
  if (!format.default_system.empty() && format.system_place == SystemPlace::none)
    problems.push_back(origin + ".default_system needs a system_place other than \"none\"");
}

}  // namespace

const ChatFormat ChatFormat::none, ChatFormat::llama2 = make_llama2(), ChatFormat::llama3 = make_llama3(),
                                   ChatFormat::chatml = make_chatml(), ChatFormat::zephyr = make_zephyr(),
                                   ChatFormat::vicuna = make_vicuna(), ChatFormat::alpaca = make_alpaca(), ChatFormat::hh = make_hh();

const std::vector<std::string>& chat_format_names() {
  static const std::vector<std::string> names = {"none", "llama2", "llama3", "chatml", "zephyr", "vicuna", "alpaca", "hh"};
  return names;
}

std::vector<std::string> dialogue_formats() {
  std::vector<std::string> names = chat_format_names();
  std::erase(names, ChatFormat::none.name);
  return names;
}

ChatFormat parse_chat_format(std::string_view name) {
  if (name.ends_with(".json")) return read_chat_format(name);
  if (const ChatFormat* format = built_in(name)) return *format;
  throw core::UsageError(fmt::format("unknown chat format \"{}\": must be one of {}, or a .json file that declares one", name,
                                     fmt::join(chat_format_names(), ", ")));
}

std::vector<std::string> prefixes_of(const ChatFormat& format) {
  std::vector<std::string> prefixes;
  for (const TurnTexts* turn : {&format.system, &format.user, &format.assistant})
    if (const std::string_view prefix = strip(behind_bos(turn->prefix)); !prefix.empty()) prefixes.emplace_back(prefix);
  return prefixes;
}

std::string describe(const ChatFormat& format) {
  std::string text = format.name;
  const ChatFormat* known = built_in(format.name);
  ChatFormat same = format;
  if (known != nullptr) same.default_system = known->default_system;
  if (known == nullptr || same != *known) text += fmt::format(" of its own ({})", core::sha256(core::json_of(format).dump()).substr(0, 8));
  if (!format.default_system.empty()) text += fmt::format(" with the default system turn \"{}\"", format.default_system);
  return text;
}

ChatFormat read_chat_format(const std::filesystem::path& file) {
  ChatFormat format;
  format.name = file.stem();
  std::vector<std::string> problems;
  core::assign_file(core::fields_of(format), file, problems);
  core::throw_if_any(problems);
  complete_(format, nlohmann::json::parse(core::read_file(file), nullptr, false, true), file, problems);
  core::throw_if_any(problems);
  return format;
}

nlohmann::json keel_json_of(const ChatFormat& format) {
  nlohmann::json object = {{"chat_format", format.name}};
  const ChatFormat* known = built_in(format.name);
  if (known != nullptr && *known == format) return object;
  ChatFormat same = format;
  if (known != nullptr) same.default_system = known->default_system;
  if (known != nullptr && same == *known)
    object["default_system"] = format.default_system;
  else
    object["chat"] = core::json_of(format);
  return object;
}

ChatFormat format_of_keel_json(const nlohmann::json& object, const std::filesystem::path& place) {
  const auto found = object.is_object() ? object.find("chat_format") : object.end();
  if (found == object.end() || !found->is_string())
    throw core::DataError(place, 0, "\"chat_format\" must be text; write this folder with keel convert");
  const auto name = found->get<std::string>();
  if (const auto declared = object.find("chat"); declared != object.end()) {
    ChatFormat format;
    std::vector<std::string> problems;
    core::assign(core::fields_of(format), *declared, "chat", problems);
    if (!problems.empty()) throw core::DataError(place, 0, problems.front());
    return format;
  }
  const ChatFormat* known = built_in(name);
  if (known == nullptr)
    throw core::DataError(
        place, 0,
        fmt::format("\"chat_format\" must be one of {}, or be declared under \"chat\", got \"{}\"; correct it or pass --chat",
                    fmt::join(chat_format_names(), ", "), name));
  ChatFormat format = *known;
  if (const auto system = object.find("default_system"); system != object.end()) {
    if (!system->is_string()) throw core::DataError(place, 0, "\"default_system\" must be text");
    format.default_system = system->get<std::string>();
  }
  return format;
}

}  // namespace keel::data
