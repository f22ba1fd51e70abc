"""Compares dialogues that `keel tokenize` renders with those of transformers' apply_chat_template, 200 for each template.

python tools/oracle/chat_template_check.py --keel build/keel FOLDER...

Each FOLDER holds a tokenizer, best as tokenizer.json (transformers 5 merges a tokenizer.model otherwise than SentencePiece where blanks repeat);
templates whose special tokens it lacks are left out. A finished dialogue may lack what the template writes behind its last end token.
Needs transformers, sentencepiece and protobuf.
"""
import argparse
import json
import pathlib
import random
import shutil
import subprocess
import tempfile

from transformers import AutoTokenizer

TURN = "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}"
ASK = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
DEFAULT = "{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\nBe kind.<|im_end|>\\n' }}{% endif %}"
ALTERNATE = "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles') }}{% endif %}"
SPLIT = ("{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}"
         "DEFAULT{% else %}{% set loop_messages = messages %}{% set system_message = OTHERWISE %}{% endif %}")
LLAMA2 = SPLIT.replace("OTHERWISE", "false") + (
    "{% for message in loop_messages %}" + ALTERNATE + "{% if loop.index0 == 0 and system_message != false %}"
    "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
    "{% else %}{% set content = message['content'] %}{% endif %}"
    "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}")
LLAMA2_DEFAULT = ("{% elif true == true and not '<<SYS>>' in messages[0]['content'] %}{% set loop_messages = messages %}"
                  "{% set system_message = 'You\\'re kind.' %}")
LLAMA3_TURN = "'<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>'"
LLAMA3_ASK = "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
VICUNA = (
    "{% for message in loop_messages %}" + ALTERNATE + "{% if message['role'] == 'user' %}{{ 'USER: ' + message['content'] + ' ' }}"
    "{% elif message['role'] == 'assistant' %}{{ 'ASSISTANT: ' + message['content'] + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}")
ALPACA = (
    "{% for message in loop_messages %}{% if message['role'] == 'user' %}{{ '### Instruction:\\n' + message['content'].strip() + '\\n\\n' }}"
    "{% elif message['role'] == 'assistant' %}{{ '### Response:\\n' + message['content'].strip() + eos_token + '\\n\\n' }}{% endif %}"
    "{% if loop.last and message['role'] == 'user' and add_generation_prompt %}{{ '### Response:\\n' }}{% endif %}{% endfor %}")
TEMPLATES = {
    "chatml": "{% for message in messages %}" + TURN + "{% endfor %}" + ASK,
    "chatml, BOS": "{{ bos_token }}{% for message in messages %}" + TURN + "{% endfor %}" + ASK,
    "chatml, default": "{% for message in messages %}" + DEFAULT + TURN + "{% endfor %}" + ASK,
    "chatml, dashes": '{%- for message in messages -%}\n  {{- "<|im_start|>" ~ message.role ~ "\\n" ~ message.content ~ "<|im_end|>\\n" -}}\n'
                      '{%- endfor -%}\n{%- if add_generation_prompt -%}\n  {{- "<|im_start|>assistant\\n" -}}\n{%- endif -%}\n',
    "chatml, text": "{% for message in messages %}\n<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}\n"
                    "{% if add_generation_prompt %}\n<|im_start|>assistant\n{% endif %}\n",
    "llama2": LLAMA2.replace("DEFAULT", ""),
    "llama2, default": LLAMA2.replace("DEFAULT", LLAMA2_DEFAULT),
    "llama3": "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = " + LLAMA3_TURN +
              " %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}" + LLAMA3_ASK,
    "llama3, dated": '{{- bos_token }}{%- if not date_string is defined %}{%- set date_string = "26 Jul 2024" %}{%- endif %}'
                     "{%- if messages[0]['role'] == 'system' %}{%- set system_message = messages[0]['content']|trim %}"
                     '{%- set messages = messages[1:] %}{%- else %}{%- set system_message = "" %}{%- endif %}'
                     '{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}{{- "Today Date: " + date_string + "\\n\\n" }}'
                     '{{- system_message }}{{- "<|eot_id|>" }}{%- for message in messages %}{{- ' + LLAMA3_TURN + " }}{%- endfor %}" + LLAMA3_ASK,
    "zephyr": "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\\n' + message['content'] + eos_token }}\n"
              "{% elif message['role'] == 'system' %}\n{{ '<|system|>\\n' + message['content'] + eos_token }}\n"
              "{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\\n' + message['content'] + eos_token }}\n{% endif %}\n"
              "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}",
    "vicuna": SPLIT.replace("DEFAULT", "").replace("OTHERWISE", "'A chat.'") + "{{ bos_token + system_message + ' ' }}" + VICUNA,
    "alpaca": SPLIT.replace("DEFAULT", "").replace("['content']", "['content'].strip() + '\\n\\n'").replace("OTHERWISE", "'Do it.\\n\\n'") +
              "{{ bos_token + system_message }}" + ALPACA,
}
NEEDED = {"chatml": {"<|im_start|>", "<|im_end|>"}, "llama3": {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"}}
WORDS = ["hello", "world", "", "the", "cat\nsat.", "\t", "12", "x=3;", "\u00fcml\u00e4ut", "\u5317\u4eac", "\U0001f600", "<b>", "end", "\n\n", "it's", "\"q\""]


def dialogues(count=200, seed=7):
    draw = random.Random(seed)

    def content():
        words = " ".join(draw.choice(WORDS) for _ in range(draw.randint(1, 12)))
        return draw.choice(["", "", " ", "\n", "  ", "\u3000"]) + "a " + words + draw.choice(["", "", " ", "\n", " \n"])

    for index in range(count):
        turns = [{"role": "system", "content": content()}] if index % 3 == 0 else []
        for _ in range(draw.randint(1, 4)):
            turns += [{"role": "user", "content": content()}, {"role": "assistant", "content": content()}]
        yield turns[:-1] if draw.random() < 0.5 else turns


def differences(keel, source, template):
    with tempfile.TemporaryDirectory() as place:
        folder, rows = pathlib.Path(place) / "model", pathlib.Path(place) / "rows.jsonl"
        shutil.copytree(source, folder, copy_function=shutil.copyfile)
        for name in ("keel.json", "chat_template.json"):
            (folder / name).unlink(missing_ok=True)
        config = json.loads((folder / "tokenizer_config.json").read_text())
        config.pop("chat_template", None)
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
        (folder / "chat_template.jinja").write_text(template)
        asked = list(dialogues())
        rows.write_text("".join(json.dumps({"messages": turns}) + "\n" for turns in asked))
        tokenizer = AutoTokenizer.from_pretrained(folder)
        run = subprocess.run([keel, "tokenize", "--tokenizer", folder, "--in", rows, "--allow-tags"], check=True, capture_output=True, text=True)
        for turns, line in zip(asked, run.stdout.splitlines()):
            ids = json.loads(line)["ids"]
            prompt = turns[-1]["role"] == "user"
            expected = tokenizer.apply_chat_template(turns, tokenize=True, add_generation_prompt=prompt)
            expected = list(expected["input_ids"] if hasattr(expected, "keys") else expected)
            behind = expected[len(ids):]
            if ids != expected and (prompt or ids != expected[:len(ids)] or tokenizer.decode(behind).strip()):
                yield turns, ids, expected


parser = argparse.ArgumentParser()
parser.add_argument("--keel", required=True)
parser.add_argument("folders", nargs="+", type=pathlib.Path)
arguments = parser.parse_args()
for folder in arguments.folders:
    vocabulary = AutoTokenizer.from_pretrained(folder).get_vocab()
    for name, template in TEMPLATES.items():
        if not NEEDED.get(name.split(",")[0], set()) <= vocabulary.keys():
            continue
        found = list(differences(arguments.keel, folder, template))
        print(folder.name, name, f"{len(found)} of 200 differ: {found[0]!r}" if found else "200 of 200 the same")
