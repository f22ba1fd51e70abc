"""Compares `keel tokenize` with sentencepiece, tokenizers and transformers on texts of HH-RLHF.

python tools/oracle/tokenizer_check.py --keel build/keel --data $KEEL_SHARED_DATA [--smollm2 SmolLM2-135M-Instruct.Q4_1.gguf]

Needs the packages sentencepiece, tokenizers, transformers and gguf. Special tokens do not occur in the texts.
"""
import argparse
import gzip
import json
import pathlib
import subprocess
import tempfile

import sentencepiece
from tokenizers import Tokenizer, pre_tokenizers


def keel_ids(keel, tokenizer, texts):
    with tempfile.TemporaryDirectory() as folder:
        source, target = pathlib.Path(folder) / "in.jsonl", pathlib.Path(folder) / "out.jsonl"
        source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        subprocess.run([keel, "tokenize", "--tokenizer", tokenizer, "--no-bos", "--in", source, "--out", target], check=True)
        return [json.loads(line)["ids"] for line in target.read_text().splitlines()]


def smollm2(path):
    """transformers reads vocabulary and merges of a GGUF but not tokenizer.ggml.pre: smollm's lone digits are put back here."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name).backend_tokenizer
    words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), words])
    return tokenizer


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--keel", required=True)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--smollm2", type=pathlib.Path)
    parser.add_argument("--texts", type=int, default=2000)
    args = parser.parse_args()
    texts = []
    for split in ("helpful-base", "harmless-base"):
        with gzip.open(args.data / "hh-rlhf" / split / "test.jsonl.gz", "rt") as lines:
            texts += [json.loads(line)["chosen"] for _, line in zip(range(args.texts // 2), lines)]

    llama2 = args.data / "tokenizer" / "tokenizer.model"
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(llama2))
    story = Tokenizer.from_file(str(args.data / "tinyllama" / "story-hf" / "tokenizer.json"))
    references = [
        (llama2, pieces.encode),
        (args.data / "tokenizer" / "ggml-vocab-llama-spm.gguf", pieces.encode),
        (args.data / "tinyllama" / "story-hf", lambda text: story.encode(text, add_special_tokens=False).ids),
    ]
    if args.smollm2:
        smol = smollm2(args.smollm2)
        references.append((args.smollm2, lambda text: smol.encode(text, add_special_tokens=False).ids))
    for path, encode in references:
        different = sum(ids != encode(text) for ids, text in zip(keel_ids(args.keel, path, texts), texts, strict=True))
        print(f"{path}: {different} of {len(texts)} texts differ")


if __name__ == "__main__":
    main()
