"""Twenty losses of TRL's own RewardTrainer, with margins and centring, for tests/reward/train_test.cpp.

The model and the pairs are those of reward_model.py: weights by formula, eight pairs a step, always the same eight. Everything else is
TRL's: collator, loss, AdamW, clipping, schedule. Two of its habits are not keel's and are set aside: norms without weight decay (keel, as
torch.optim.AdamW, decays every parameter) and a learning rate of 0 at the first step of a warm-up (there is none here).
"""
import tempfile

import torch
from datasets import Dataset
from reward_model import PAD, VOCAB, build, pairs
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast
from trl import RewardConfig, RewardTrainer

MARGINS = [0.0, 0.0, 1 / 3, 2 / 3, 1.0]  # by strength, table 27 "small"
STEPS = 20


class Recorder(RewardTrainer):
    losses = []

    def compute_loss(self, *args, **kwargs):
        result = super().compute_loss(*args, **kwargs)
        self.losses.append((result[0] if isinstance(result, tuple) else result).item())
        return result


def main():
    torch.set_num_threads(1)
    rows = [{"chosen_ids": c, "rejected_ids": r, "margin": MARGINS[strength]} for c, r, strength, _, _ in pairs()]
    words = Tokenizer(models.WordLevel({f"t{i}": i for i in range(VOCAB)}, unk_token=f"t{PAD}"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token=f"t{PAD}", eos_token=f"t{VOCAB - 1}")
    model = build()
    with tempfile.TemporaryDirectory() as folder:
        config = RewardConfig(
            output_dir=folder, per_device_train_batch_size=len(rows), num_train_epochs=STEPS, learning_rate=0.01, adam_beta1=0.9,
            adam_beta2=0.95, adam_epsilon=1e-5, max_grad_norm=1.0, lr_scheduler_type="cosine_with_min_lr",
            lr_scheduler_kwargs={"min_lr_rate": 0.1}, warmup_steps=0, center_rewards_coefficient=0.01, max_length=None, use_cpu=True,
            bf16=False, fp16=False, gradient_checkpointing=False, report_to="none", save_strategy="no", logging_strategy="no",
            disable_tqdm=True)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, betas=(0.9, 0.95), eps=1e-5, weight_decay=0.1)
        trainer = Recorder(model=model, args=config, train_dataset=Dataset.from_list(rows), processing_class=tokenizer,
                           optimizers=(optimizer, None))
        trainer.train()
    print("losses", [round(loss, 7) for loss in trainer.losses])


main()
