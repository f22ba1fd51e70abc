"""Compares dialogues that `keel tokenize` renders with those of transformers' apply_chat_template, for templates that keel recognises.

python tools/oracle/chat_template_check.py --keel build/keel FOLDER...

Each FOLDER holds a tokenizer with <|im_start|> and <|im_end|>; those with <s> and </s> are read with Llama 2's template too. keel puts the BOS
that the tokenizer's files ask for before chatml, which is left out of the comparison. Needs transformers, sentencepiece and protobuf.
"""
import argparse
import json
import pathlib
import shutil
import subprocess
import tempfile

from transformers import AutoTokenizer

TURN = "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}"
ASK = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
DEFAULT = "{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\nBe kind.<|im_end|>\\n' }}{% endif %}"
LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}"
    "DEFAULT{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles') }}{% endif %}"
    "{% if loop.index0 == 0 and system_message != false %}"
    "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
    "{% else %}{% set content = message['content'] %}{% endif %}"
    "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}")
LLAMA2_DEFAULT = ("{% elif true == true and not '<<SYS>>' in messages[0]['content'] %}{% set loop_messages = messages %}"
                  "{% set system_message = 'You\\'re kind.' %}")
TEMPLATES = {
    "chatml": "{% for message in messages %}" + TURN + "{% endfor %}" + ASK,
    "chatml, default": "{% for message in messages %}" + DEFAULT + TURN + "{% endfor %}" + ASK,
    "chatml, dashes": '{%- for message in messages -%}\n  {{- "<|im_start|>" ~ message.role ~ "\\n" ~ message.content ~ "<|im_end|>\\n" -}}\n'
                      '{%- endfor -%}\n{%- if add_generation_prompt -%}\n  {{- "<|im_start|>assistant\\n" -}}\n{%- endif -%}\n',
    "chatml, text": "{% for message in messages %}\n<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}\n"
                    "{% if add_generation_prompt %}\n<|im_start|>assistant\n{% endif %}\n",
    "llama2": LLAMA2.replace("DEFAULT", ""),
    "llama2, default": LLAMA2.replace("DEFAULT", LLAMA2_DEFAULT)}
DIALOGUES = [["Hi"], ["Be brief.", "Hi there", "Yes. ", "Once upon a time"], ["a", "b", " c"], ["Once\n\n12  x"]]


def messages(texts):
    roles = ["user", "assistant", "user"] if len(texts) % 2 else ["system", "user", "assistant", "user"]
    return [{"role": role, "content": text} for role, text in zip(roles, texts)]


def differences(keel, source, name, template):
    with tempfile.TemporaryDirectory() as place:
        folder, rows = pathlib.Path(place) / "model", pathlib.Path(place) / "rows.jsonl"
        shutil.copytree(source, folder, copy_function=shutil.copyfile)
        config = json.loads((folder / "tokenizer_config.json").read_text())
        config.pop("chat_template", None)
        if name.startswith("llama2"):
            config["eos_token"] = "</s>"
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
        (folder / "chat_template.jinja").write_text(template)
        rows.write_text("".join(json.dumps({"messages": messages(texts)}) + "\n" for texts in DIALOGUES))
        tokenizer = AutoTokenizer.from_pretrained(folder)
        run = subprocess.run([keel, "tokenize", "--tokenizer", folder, "--in", rows], check=True, capture_output=True, text=True)
        for texts, line in zip(DIALOGUES, run.stdout.splitlines()):
            ids = json.loads(line)["ids"]
            expected = tokenizer.apply_chat_template(messages(texts), tokenize=True, add_generation_prompt=True)
            expected = list(expected["input_ids"] if hasattr(expected, "keys") else expected)
            if expected[0] != ids[0] == tokenizer.bos_token_id:
                ids = ids[1:]
            if ids != expected:
                yield texts, ids, expected


parser = argparse.ArgumentParser()
parser.add_argument("--keel", required=True)
parser.add_argument("folders", nargs="+", type=pathlib.Path)
arguments = parser.parse_args()
for folder in arguments.folders:
    vocabulary = AutoTokenizer.from_pretrained(folder).get_vocab()
    for name, template in TEMPLATES.items():
        if name.startswith("llama2") and not {"<s>", "</s>"} <= vocabulary.keys():
            continue
        found = list(differences(arguments.keel, folder, name, template))
        print(folder.name, name, "differs: " + repr(found[0]) if found else "the same")
