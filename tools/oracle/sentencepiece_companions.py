# Ids that transformers makes with a SentencePiece model and the files beside it: legacy, add_prefix_space, added tokens. The numbers of
# tests/data/sentencepiece_companions_test.cpp.
#
#   python3 tools/oracle/sentencepiece_companions.py TOKENIZER.model     (pip install transformers sentencepiece protobuf)
import json
import pathlib
import shutil
import sys
import tempfile

from transformers import AutoTokenizer

TEXTS = ["Once", " Once", "  Once", "a<tool>b", "<|im_start|>user\nOnce<|im_end|>\n", "<|im_start|> Once", "<s>[INST] Hi [/INST]"]


def flags(content, special):
    return {"content": content, "lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": special}


def config(legacy, prefix):
    added = {"512": flags("<|im_start|>", True), "513": flags("<|im_end|>", True), "514": flags("<tool>", False)}
    for i, piece in enumerate(["<unk>", "<s>", "</s>"]):
        added[str(i)] = flags(piece, True)
    return {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "<|im_end|>", "unk_token": "<unk>", "legacy": legacy,
            "add_prefix_space": prefix, "added_tokens_decoder": added}


for legacy in (True, False):
    for prefix in (True, False):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            shutil.copy(sys.argv[1], folder / "tokenizer.model")
            (folder / "config.json").write_text('{"model_type": "llama"}')
            (folder / "tokenizer_config.json").write_text(json.dumps(config(legacy, prefix)))
            tokenizer = AutoTokenizer.from_pretrained(folder)
            for text in TEXTS:
                ids = tokenizer.encode(text, add_special_tokens=False)
                print(json.dumps({"legacy": legacy, "add_prefix_space": prefix, "text": text, "ids": ids,
                                  "decoded": tokenizer.decode(ids, skip_special_tokens=True)}))
