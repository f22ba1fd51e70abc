"""Small tokenizer.json files of several designs and the ids that Hugging Face tokenizers gives: writes tests/data/tokenizer_golden.json.

Run with the package tokenizers: python tools/oracle/tokenizer_golden.py
"""
import json
import pathlib

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

CORPUS = [
    "The ferry leaves the harbour at 7:45 and comes back at 19:30.",
    "She's sure that they'll find the lighthouse; we've seen it twice, haven't we?",
    "Two boats, three nets and 12 lanterns lie on the quay.\n\nThe fish market opens at 6.\n",
    "the cat sat on the mat,  and the other cat sat on the other mat",
    "Caf\u00e9 cr\u00e8me, na\u00efve, \u00fcber: accents are letters too.",
    "    indented line\n\tand a tab",
] * 4
TEXTS = [
    "", " ", "   ", "\n", "\n\n\t x", "The cats' lighthouse", "  two  spaces  between ", "it's THEY'LL we've I'm", "12 lanterns at 19:30, 1234567",
    "caf\u00e9 \u00fc\u0308 na\u00efve", "\u4f60\u597d\uff0cworld \U0001f642\U0001f99c", "a\u00a0b\u2003c\u3000d\u0085e", "\u00bd \u2167 \u0664\u0662",
    "tabs\t\tand\r\nlines\r\n\r\n", "<s>typed</s> <unk>", "x = foo_bar(3.14) # !!!", "harbour\u2581quay", "<tool>the<tool>> mat", "\x00\x01\x7f",
]
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def byte_level(name, pre_tokenizer, ignore_merges=False):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=340, initial_alphabet=alphabet, special_tokens=["<s>", "</s>"], show_progress=False))
    document = json.loads(tokenizer.to_str())
    document["model"]["ignore_merges"] = ignore_merges
    return name, document


def metaspace(name, normalizer, pre_tokenizer, decoder):
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer or pre_tokenizers.Split("\u2581", "merged_with_next")
    tokenizer.decoder = decoder
    special = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=380, limit_alphabet=40, special_tokens=special, show_progress=False))
    document = json.loads(tokenizer.to_str())
    if pre_tokenizer is None:
        document["pre_tokenizer"] = None
    document["added_tokens"] = [token for token in document["added_tokens"] if not token["content"].startswith("<0x")]
    return name, document


def with_added(document):
    """Two tokens that are not special and so are found in text; and a template that begins with <s>."""
    size = len(document["model"]["vocab"])
    for place, text in enumerate(["<tool>", "<tool>>"]):
        document["added_tokens"].append(
            {"id": size + place, "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False})
    document["post_processor"] = {
        "type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [document["model"]["vocab"]["<s>"]], "tokens": ["<s>"]}}}


def reference(document, text):
    """Ids by Hugging Face with the special tokens hidden: there "<s>" in text becomes its id, here it must not."""
    hidden = json.loads(json.dumps(document))
    hidden["post_processor"] = None
    names = {token["content"]: f"\ue000{token['content']}\ue001" for token in hidden["added_tokens"] if token["special"]}
    for token in hidden["added_tokens"]:
        token["content"] = names.get(token["content"], token["content"])
    hidden["model"]["vocab"] = {names.get(piece, piece): place for piece, place in hidden["model"]["vocab"].items()}
    if hidden["model"]["unk_token"]:
        hidden["model"]["unk_token"] = names[hidden["model"]["unk_token"]]
    tokenizer = Tokenizer.from_str(json.dumps(hidden))
    ids = tokenizer.encode(text).ids
    return {"text": text, "ids": ids, "decoded": tokenizer.decode(ids)}


def main():
    plain = pre_tokenizers.ByteLevel(add_prefix_space=False)
    cases = [
        byte_level("gpt2", plain),
        byte_level("smollm", pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), plain])),
        byte_level("llama3", pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), "isolated"),
                                                      pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]), True),
        metaspace("llama2", normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]), None,
                  decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])),
        metaspace("metaspace", None, pre_tokenizers.Metaspace(prepend_scheme="first", split=True),
                  decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="first")])),
    ]
    for _, document in cases[2:4]:
        with_added(document)
    lines = [json.dumps({"name": name, "tokenizer": document, "texts": [reference(document, text) for text in TEXTS]}) for name, document in cases]
    path = pathlib.Path(__file__).parents[2] / "tests" / "data" / "tokenizer_golden.json"
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n")


if __name__ == "__main__":
    main()
