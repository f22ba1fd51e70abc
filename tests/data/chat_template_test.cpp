#include "data/chat_template.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "support/byte_tokenizer.h"
#include "support/test_plain.h"

using keel::core::DataError;
using keel::data::BosRule;
using keel::data::chat_format_of;
using keel::data::ChatFormat;
using keel::data::find_chat_template;
using keel::data::format_of_template;
using keel::test::TemporaryFolder;
using keel::test::write_text;
using nlohmann::json;

namespace {

ChatFormat read(const std::string& text) {
  return format_of_template({text, "test"});
}

ChatFormat chatml(BosRule bos, const std::string& default_system = "") {
  ChatFormat format = ChatFormat::chatml;
  format.bos = bos, format.default_system = default_system;
  return format;
}

const std::string kLoop =
    R"({% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %})";
const std::string kAsk = R"({% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %})";

// Llama-2-Chat's, with the condition on a default system prompt that its converter writes.
std::string llama2_template(const std::string& branch) {
  return R"({% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %})" +
         branch +
         R"({% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\n' + system_message + '\n<</SYS>>\n\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %})";
}

}  // namespace

TEST_CASE("chat template: chatml is recognised in its spellings", "[data]") {
  const std::string spellings[] = {
      kLoop + kAsk, kLoop, "{{ bos_token }}" + kLoop + kAsk,
      "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}" + kLoop + kAsk,
      // Double quotes, dots, line breaks for "\n", blanks and dashes, ~ in place of +, a comment.
      "{#- turns -#}\n{%- for message in messages -%}\n  {{- \"<|im_start|>\" ~ message.role ~ \"\\n\" ~ message.content ~ "
      "\"<|im_end|>\\n\" "
      "-}}\n{%- endfor -%}\n{%- if add_generation_prompt -%}\n  {{- \"<|im_start|>assistant\\n\" -}}\n{%- endif -%}\n",
      "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}{% if "
      "add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}\n",
      // Text instead of strings.
      "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}{% if "
      "add_generation_prompt "
      "%}<|im_start|>assistant\n{% endif %}"};
  for (const std::string& text : spellings) {
    INFO(text);
    const ChatFormat format = read(text);
    CHECK(format == chatml(text.starts_with("{{ bos_token }}") ? BosRule::once : BosRule::never));
  }
}

TEST_CASE("chat template: a default system turn is a property of the format", "[data]") {
  const auto with_default = [](const std::string& condition, const std::string& text) {
    return "{% for message in messages %}{% if " + condition + " %}{{ '<|im_start|>system\\n" + text + "<|im_end|>\\n' }}{% endif %}" +
           kLoop.substr(kLoop.find("{{")) + kAsk;
  };
  for (const char* condition : {"loop.first and messages[0]['role'] != 'system'", "loop.first and message.role != \"system\"",
                                "(loop.first and messages[0].role != 'system')"}) {
    const ChatFormat format = read(with_default(condition, "Be kind."));
    CHECK(format == chatml(BosRule::never, "Be kind."));
  }
  CHECK(read(with_default("loop.first and messages[0]['role'] != 'system'", "You\\'re kind.")).default_system == "You're kind.");
  CHECK(read("{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\nHi.<|im_end|>\\n' }}{% endif %}" + kLoop + kAsk)
            .default_system == "Hi.");

  // It is put only before a dialogue without one.
  const keel::test::ByteTokenizer bytes({}, false);
  const ChatFormat format = read(with_default("loop.first and messages[0]['role'] != 'system'", "Be kind."));
  const auto shown = [&](const keel::core::Dialogue& dialogue) { return bytes.show(render(format, bytes, dialogue)); };
  CHECK(shown({{{"user", "Hi"}}}) == "<start>system\nBe kind.<end>\n<start>user\nHi<end>\n<start>assistant\n");
  CHECK(shown({{{"system", "Go."}, {"user", "Hi"}}}) == "<start>system\nGo.<end>\n<start>user\nHi<end>\n<start>assistant\n");
  CHECK(describe(chatml(BosRule::as_tokenizer, "Be kind.")) == "chatml with the default system turn \"Be kind.\"");
  CHECK(describe(format).starts_with("chatml of its own ("));  // it never begins with BOS
}

TEST_CASE("chat template: Llama 2's is recognised, with its default system prompt where it is switched on", "[data]") {
  const std::string rest =
      " == true and not '<<SYS>>' in messages[0]['content'] %}{% set loop_messages = messages %}{% set system_message = 'You are helpful.' "
      "%}";
  CHECK(read(llama2_template("")) == ChatFormat::llama2);
  CHECK(read(llama2_template("{% elif false" + rest)) == ChatFormat::llama2);
  CHECK(read(llama2_template("{% elif true" + rest)).default_system == "You are helpful.");
}

TEST_CASE("chat template: zephyr's is recognised, with its turns by role in any order", "[data]") {
  const std::string turns[] = {
      // As TinyLlama writes it: on lines of its own, the prompt for an answer inside the loop.
      "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] + eos_token }}\n"
      "{% elif message['role'] == 'system' %}\n{{ '<|system|>\n' + message['content'] + eos_token }}\n"
      "{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n"
      "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}",
      R"({% for message in messages %}{% if message.role == "assistant" %}{{ "<|assistant|>\n" + message.content + eos_token + "\n" }})"
      R"({% elif message.role == "user" %}{{ "<|user|>\n" + message.content + eos_token + "\n" }}{% else %})"
      R"({{ "<|system|>\n" + message.content + eos_token + "\n" }}{% endif %}{% endfor %})"
      R"({% if add_generation_prompt %}{{ "<|assistant|>\n" }}{% endif %})"};
  for (const std::string& text : turns)
    CHECK(read(text) == ChatFormat::zephyr);
}

TEST_CASE("chat template: Llama 3's, and 3.1's with its dated system turn before every dialogue", "[data]") {
  const std::string turn =
      R"('<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>')";
  const std::string ask = R"({% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %})";
  CHECK(read("{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = " + turn +
             " %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}" + ask) ==
        ChatFormat::llama3);
  const std::string dated =
      R"({{- bos_token }}{%- if not date_string is defined %}{%- set date_string = "26 Jul 2024" %}{%- endif %}
{%- if not tools is defined %}{%- set tools = none %}{%- endif %}{%- if messages[0]['role'] == 'system' %}
{%- set system_message = messages[0]['content']|trim %}{%- set messages = messages[1:] %}{%- else %}{%- set system_message = "" %}
{%- endif %}{{- "<|start_header_id|>system<|end_header_id|>\n\n" }}{%- if tools is not none %}{{- "Environment: ipython\n" }}
{%- endif %}{{- "Today Date: " + date_string + "\n\n" }}{{- system_message }}{{- "<|eot_id|>" }}{%- for message in messages %}
{%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}{{- )" +
      turn + R"( }}{%- elif 'tool_calls' in message %}{{- message.tool_calls[0] }}{%- endif %}{%- endfor %})" + ask;
  const ChatFormat format = read(dated);
  CHECK(format.system_place == keel::data::SystemPlace::always);
  CHECK(format.system.prefix == "<|start_header_id|>system<|end_header_id|>\n\nToday Date: 26 Jul 2024\n\n");
  CHECK(format.user == ChatFormat::llama3.user);
  CHECK(format.bos == BosRule::once);
}

TEST_CASE("chat template: a system message that is split off before the loop, as Vicuna's and Alpaca's templates do", "[data]") {
  const std::string split =
      "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}"
      "{% else %}{% set loop_messages = messages %}{% set system_message = 'Be kind.' %}{% endif %}";
  const std::string loop =
      "{% for message in loop_messages %}{% if message['role'] == 'user' %}{{ 'USER: ' + message['content'] + ' ' }}"
      "{% elif message['role'] == 'assistant' %}{{ 'ASSISTANT: ' + message['content'] + eos_token }}{% endif %}{% endfor %}"
      "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}";
  const ChatFormat format = read(split + "{{ bos_token + system_message + ' ' }}" + loop);
  CHECK(format.user == ChatFormat::vicuna.user);
  CHECK(format.assistant == ChatFormat::vicuna.assistant);
  CHECK(format.generation_prompt == "ASSISTANT:");
  CHECK(format.system.suffix == " ");
  CHECK(format.default_system == "Be kind.");
  CHECK(format.bos == BosRule::once);
  // What is written with a system message and without one must be the same but for the message.
  CHECK(read(split + "{{ system_message }}{% if loop_messages %}{{ ' ' }}{% endif %}" + loop) == ChatFormat::none);
}

TEST_CASE("chat template: escapes of a string are Python's", "[data]") {
  const std::string start = R"({% if messages[0].role != 'system' %}{{ '<|im_start|>system\n)";
  const auto system = [&](const std::string& text) {
    return read(start + text + R"(<|im_end|>\n' }}{% endif %})" + kLoop + kAsk).default_system;
  };
  CHECK(system(R"(Caf\u00e9\r\x41\\\d\")") == "Caf\xc3\xa9\rA\\\\d\"");
}

TEST_CASE("chat template: a template without an end of answers gets EOS behind the last one", "[data]") {
  const ChatFormat format = read(
      "{% for message in messages %}{% if message.role == 'user' %}{{ 'Q: ' + message.content + '\n' }}{% elif message.role == 'assistant' "
      "%}"
      "{{ 'A: ' + message.content + '\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'A:' }}{% endif %}");
  CHECK(format.end == "{eos}");
  CHECK(format.system_place == keel::data::SystemPlace::none);
}

TEST_CASE("chat template: others give the format of their tags, or none", "[data]") {
  const std::string tools = "{% if tools %}{{ '<|im_start|>system\\n# Tools you may call' }}{% endif %}";
  CHECK(read(tools + kLoop + kAsk) == chatml(BosRule::never));  // keel has no tools
  const std::string documents = "{% if documents %}{{ 'Read these documents' }}{% endif %}";
  CHECK(read(documents + kLoop + kAsk) == ChatFormat::chatml);
  CHECK(read("{%- if messages[0].role == 'system' %}{{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}{%- else "
             "%}{{- '<|im_start|>system\\nYou are kind.<|im_end|>\\n' }}{%- endif %}" +
             tools)
            .default_system == "You are kind.");
  CHECK(read("{{ bos_token }}{% for m in messages %}{{ '[INST] ' + m['content'] + ' [/INST]' }}{% endfor %}") == ChatFormat::llama2);
  CHECK(read("{% for m in messages %}{{ '<|user|>\\n' + m['content'] + eos_token }}{% endfor %}") == ChatFormat::none);
  CHECK(read("{{ broken") == ChatFormat::none);
  CHECK(read("") == ChatFormat::none);
}

TEST_CASE("chat template: it is found wherever transformers keeps it", "[data]") {
  const TemporaryFolder folder;
  CHECK_FALSE(find_chat_template(folder.path()));
  CHECK(chat_format_of(folder.path()) == ChatFormat::none);
  write_text(folder / "tokenizer_config.json", json{{"chat_template", nullptr}}.dump());
  CHECK_FALSE(find_chat_template(folder.path()));
  write_text(folder / "tokenizer_config.json",
             json{{"chat_template", {{{"name", "rag"}, {"template", "x"}}, {{"name", "default"}, {"template", kLoop + kAsk}}}}}.dump());
  CHECK(find_chat_template(folder.path())->text == kLoop + kAsk);
  CHECK(chat_format_of(folder.path()) == chatml(BosRule::never));
  write_text(folder / "tokenizer_config.json", json{{"chat_template", {{"rag", "x"}, {"default", "one"}}}}.dump());
  CHECK(find_chat_template(folder.path())->text == "one");
  write_text(folder / "chat_template.json", json{{"chat_template", "two"}}.dump());
  CHECK(find_chat_template(folder.path())->text == "two");
  write_text(folder / "chat_template.jinja", llama2_template(""));
  CHECK(chat_format_of(folder.path()) == ChatFormat::llama2);
  // keel.json wins, and names the default system turn itself.
  write_text(folder / "keel.json", R"({"chat_format": "chatml", "default_system": "Be kind."})");
  CHECK(chat_format_of(folder.path()).default_system == "Be kind.");
  CHECK(chat_format_of(folder.path(), "chatml").default_system.empty());
  write_text(folder / "keel.json", R"({"chat_format": "chatml", "default_system": 7})");
  CHECK_THROWS_AS(chat_format_of(folder.path()), DataError);
  write_text(folder / "chat_template.json", json{{"chat_template", 7}}.dump());
  std::filesystem::remove(folder / "chat_template.jinja");
  CHECK_THROWS_AS(find_chat_template(folder.path()), DataError);
}
