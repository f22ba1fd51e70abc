"""Adapters of PEFT computed by keel, and adapters of keel computed by PEFT: log-probs and scores must agree to 1e-4.

    adapter_check.py KEEL MODEL    the keel binary and a model folder in Hugging Face's layout

PEFT writes an adapter for each task, on every projection and with random values, and keel reads it: as it is, with --base, and merged by
keel convert. Then keel trains adapters by SFT, as a reward model, by rejection sampling and by PPO, and PEFT reads them. Prints the largest
difference of each comparison and exits with 1 where one is above 1e-4.
"""
import json
import os
import random
import subprocess
import sys
import tempfile

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaForCausalLM, LlamaForSequenceClassification

MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
WORST = 1e-4


def run(keel, *arguments):
    done = subprocess.run([keel, *arguments, "--threads", "1", "--log-level", "error"], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"keel {' '.join(arguments)}: {done.returncode}\n{done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def write_rows(path, rows):
    with open(path, "w") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")


def causal(base):
    return LlamaForCausalLM.from_pretrained(base, dtype=torch.float32).eval()


def classifier(base):
    model = LlamaForSequenceClassification.from_pretrained(base, dtype=torch.float32, num_labels=1, pad_token_id=0).eval()
    model.model.load_state_dict(causal(base).model.state_dict())  # it does not take a tied embedding from lm_head.weight
    return model


@torch.no_grad()
def logprobs_of(model, rows):
    return [model(torch.tensor([row])).logits[0].float().log_softmax(-1)[:-1].gather(1, torch.tensor(row[1:])[:, None])[:, 0].tolist()
            for row in rows]


@torch.no_grad()
def scores_of(model, rows):
    """A row at a time, so that nothing is padded; attention covers the whole row."""
    return [[model(input_ids=torch.tensor([row]), attention_mask=torch.ones(1, len(row), dtype=torch.long)).logits[0, 0].item()]
            for row in rows]


def make_adapter(model, task, base, folder):
    torch.manual_seed(len(task))
    peft = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=MODULES, lora_dropout=0.1, task_type=task)).eval()
    with torch.no_grad():
        for name, weight in peft.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.1)
    peft.peft_config["default"].base_model_name_or_path = base
    peft.save_pretrained(folder)
    return peft


class Comparison:
    def __init__(self):
        self.good = True

    def __call__(self, name, ours, theirs, unlike=None):
        def largest(other):
            return max(abs(a - b) for x, y in zip(ours, other, strict=True) for a, b in zip(x, y, strict=True))
        worst = largest(theirs)
        moved = "" if unlike is None else f"; {largest(unlike):.2g} from the base"
        size = max(abs(a) for x in theirs for a in x)
        print(f"{name}: largest difference {worst:.2g} of values up to {size:.2g}{moved}", flush=True)
        self.good = self.good and worst < WORST


def main():
    keel, base = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    torch.set_num_threads(1)
    random.seed(1)
    compare = Comparison()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        vocabulary = causal(base).config.vocab_size
        rows = [[random.randrange(3, vocabulary) for _ in range(length)] for length in (2, 9, 40)]
        write_rows("ids.jsonl", [{"ids": row} for row in rows])
        of_base = logprobs_of(causal(base), rows)

        def logprobs(*arguments):
            return [row["logprobs"] for row in run(keel, "logprobs", "--in", "ids.jsonl", *arguments)]

        def scores(*arguments):
            return [[row["score"]] for row in run(keel, "score", "--in", "ids.jsonl", *arguments)]

        theirs = logprobs_of(make_adapter(causal(base), "CAUSAL_LM", base, "policy"), rows)
        compare("PEFT's policy in keel", logprobs("--model", "policy"), theirs, of_base)
        compare("PEFT's policy in keel, --base", logprobs("--model", "policy", "--base", base), theirs)
        run(keel, "convert", "policy", "merged")
        compare("PEFT's policy merged by keel", logprobs("--model", "merged"), theirs)
        compare("the same in transformers", logprobs("--model", "merged"), logprobs_of(causal("merged"), rows))
        theirs = scores_of(make_adapter(classifier(base), "SEQ_CLS", base, "scorer"), rows)
        compare("PEFT's reward model in keel", scores("--reward", "scorer"), theirs)
        run(keel, "convert", "scorer", "merged_scorer")
        compare("PEFT's reward model merged by keel", scores("--reward", "merged_scorer"), theirs)

        words = ["the cat", "a red ball", "my friend", "the big tree"]
        chat = ["--chat", "llama2"]
        write_rows("demonstrations.jsonl", [{"prompt": f"who saw {a}?", "completion": f"{b} saw it."} for a in words for b in words])
        write_rows("pairs.jsonl", [{"prompt": f"who saw {a}?", "chosen": f"{b} saw it.", "rejected": f"{a}{a}"} for a in words for b in words])
        write_rows("prompts.jsonl", [{"prompt": f"who saw {a}?"} for a in words])
        lora = ["--set", "lora.rank=4", "--set", f"lora.target_modules={json.dumps(MODULES)}"]
        fast = ["--set", "schedule.learning_rate=5e-3", "--set", "schedule.schedule=constant"]
        run(keel, "sft", "--model", base, *chat, "--data", "demonstrations.jsonl", "--out", "sft", *lora, *fast, "--set", "steps=5",
            "--set", "batch.batch_rows=2", "--set", "batch.row_tokens=256")

        def check_policy(name, out, adapter_base):
            theirs = logprobs_of(PeftModel.from_pretrained(causal(adapter_base), f"{out}/adapter").eval(), rows)
            compare(f"keel's {name} in PEFT", logprobs("--model", f"{out}/adapter", "--base", adapter_base), theirs,
                    logprobs_of(causal(adapter_base), rows))
            compare(f"keel's {name}, the model beside it", logprobs("--model", out), theirs)

        check_policy("SFT", "sft", base)
        reward = ["reward", "train", "--model", "sft", "--data", "pairs.jsonl", "--held-out", "pairs.jsonl", *lora, "--set", "batch_pairs=4"]
        run(keel, *reward, "--set", "learning_rate=5e-3", "--out", "reward")
        theirs = scores_of(PeftModel.from_pretrained(classifier("sft"), "reward/adapter").eval(), rows)
        compare("keel's reward model in PEFT", scores("--reward", "reward/adapter", "--base", "sft"), theirs)
        compare("keel's reward model, the one beside it", scores("--reward", "reward"), theirs)
        sampling = ["--set", "sampling.max_new_tokens=8"]
        run(keel, "rejection", "--model", "sft", "--start", "sft", "--reward", "reward/adapter", "--base", "sft", "--prompts",
            "prompts.jsonl", "--out", "rejection", *sampling, *(x.replace("lora.", "sft.lora.") for x in lora),
            *(x.replace("schedule.", "sft.schedule.", 1) for x in fast), "--set", "sft.steps=5", "--set", "sft.batch.batch_rows=2", "--set",
            "sft.batch.row_tokens=256", "--set", "selection.finished_only=false")
        check_policy("rejection sampling", "rejection", "sft")
        run(keel, "ppo", "--model", "sft", "--reward", "reward/adapter", "--base", "sft", "--prompts", "prompts.jsonl", "--out", "ppo",
            *sampling, *lora, *fast, "--set", "iterations=3", "--set", "batch_answers=8", "--set", "minibatch_answers=4")
        check_policy("PPO", "ppo", "sft")
    sys.exit(0 if compare.good else 1)


if __name__ == "__main__":
    main()
