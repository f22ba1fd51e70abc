"""Logits of a tiny Llama with LoRA adapters from PEFT, for tests/policy/lora_test.cpp.

    lora_reference.py            weights as in llama_reference.py; element i of the k-th adapter tensor is 0.2 sin(0.9 i + k)
    lora_reference.py FOLDER     the same model with the adapter that keel saved there, loaded by PEFT
    lora_reference.py --save FOLDER   saves the adapter by PEFT
    lora_reference.py --scores        scores of the same adapter on the reward model of reward_model.py, for task SEQ_CLS

Nothing of keel is read but that adapter.
"""
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model

import reward_model
from llama_reference import IDS, build, report

ATTENTION, MLP = ["q_proj", "k_proj", "v_proj", "o_proj"], ["gate_proj", "up_proj", "down_proj"]


ROWS = [[3, 1, 4, 1, 5], [9, 2, 6], [5], [3, 5, 8, 9, 7, 9, 3]]


def adapted(model, task="CAUSAL_LM"):
    peft = get_peft_model(model, LoraConfig(r=2, lora_alpha=6, target_modules=ATTENTION + MLP, lora_dropout=0.0, bias="none",
                                            task_type=task)).eval()
    weights = dict(peft.named_parameters())
    modules = [f"self_attn.{n}" for n in ATTENTION] + [f"mlp.{n}" for n in MLP]
    names = [f"base_model.model.model.layers.{i}.{n}.lora_{m}.default.weight" for i in range(2) for n in modules for m in "AB"]
    assert sorted(names) == sorted(n for n in weights if "lora_" in n)
    with torch.no_grad():
        for k, name in enumerate(names):
            w = weights[name]
            w.copy_((0.2 * torch.sin(0.9 * torch.arange(w.numel(), dtype=torch.float64) + k)).view(w.shape))
    return peft


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:] == ["--scores"]:
        with torch.no_grad():
            print([round(x, 6) for x in reward_model.scores(adapted(reward_model.build(), "SEQ_CLS"), ROWS).tolist()])
        sys.exit()
    base = build(num_attention_heads=2, num_key_value_heads=1, rms_norm_eps=1e-5)
    if len(sys.argv) == 2:
        model = PeftModel.from_pretrained(base, sys.argv[1]).eval()
    else:
        model = adapted(base)
        if len(sys.argv) == 3:
            model.save_pretrained(sys.argv[2])
    print(*report(model, IDS), sep="\n")
