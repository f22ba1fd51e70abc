#include "data/chat_template.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "support/byte_tokenizer.h"
#include "support/test_plain.h"

using keel::core::DataError;
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
    CHECK(read(text) == ChatFormat(ChatFormat::chatml));
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
    CHECK(format == ChatFormat::chatml);
    CHECK(format.default_system == "Be kind.");
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
  CHECK(describe(format) == "chatml with the default system turn \"Be kind.\"");
  CHECK_FALSE(format == ChatFormat(ChatFormat::chatml));  // models of the two do not read the same text
}

TEST_CASE("chat template: Llama 2's is recognised, with its default system prompt where it is switched on", "[data]") {
  const std::string rest =
      " == true and not '<<SYS>>' in messages[0]['content'] %}{% set loop_messages = messages %}{% set system_message = 'You are helpful.' "
      "%}";
  CHECK(read(llama2_template("")) == ChatFormat(ChatFormat::llama2));
  CHECK(read(llama2_template("{% elif false" + rest)) == ChatFormat(ChatFormat::llama2));
  CHECK(read(llama2_template("{% elif true" + rest)).default_system == "You are helpful.");
}

TEST_CASE("chat template: others give the format of their tags, or none", "[data]") {
  const std::string tools = "{% if tools %}{{ '<|im_start|>system\\n# Tools you may call' }}{% endif %}";
  CHECK(read(tools + kLoop + kAsk) == ChatFormat(ChatFormat::chatml));
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
  CHECK(chat_format_of(folder.path()) == ChatFormat::chatml);
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
