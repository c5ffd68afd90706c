"""`trl.RewardTrainer` with what section 3.2.2 adds: a safety loss on the same scalar, beside the ranking with a margin.

Only the collator's two extra columns and the loss differ from TRL's.
"""

from dataclasses import dataclass
from typing import Any

import torch
from trl import RewardConfig, RewardTrainer
from trl.trainer.reward_trainer import DataCollatorForPreference

from reward_model.loss import centering_loss, ranking_loss, safety_loss


@dataclass
class PairCollator(DataCollatorForPreference):
    """TRL's collator (chosen rows first, then rejected ones), and `is_safe` [2 * batch] in the same order."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Return `input_ids` and `attention_mask` [2 * batch, time], `margin` [batch] and `is_safe` [2 * batch]."""
        labels = [example[name] for name in ("chosen_safe", "rejected_safe") for example in examples]
        return {**super().torch_call(examples), "is_safe": torch.tensor(labels, dtype=torch.float)}


class MarginRewardTrainer(RewardTrainer):
    """Minimises ``ranking + safety_loss_weight * safety`` on the rows of `data.encode_pairs`."""

    args: RewardConfig

    def __init__(self, *, args: RewardConfig, processing_class: Any, safety_loss_weight: float = 0.0, **kwargs: Any):
        assert not isinstance(args.pad_to_multiple_of, str)  # RewardConfig has turned "auto" into a number or None
        collator = PairCollator(processing_class.pad_token_id, args.pad_to_multiple_of)
        super().__init__(args=args, processing_class=processing_class, data_collator=collator, **kwargs)
        self.safety_loss_weight = safety_loss_weight

    def _set_signature_columns_if_needed(self) -> None:
        labels = ["margin", "chosen_safe", "rejected_safe", self.args.length_column_name]
        self._signature_columns = ["chosen_ids", "rejected_ids", *labels]  # type: ignore[assignment]

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Return the loss of one batch of pairs (and the model's outputs)."""
        tokens = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        outputs = model(**tokens, use_cache=False)
        scores = outputs.logits.squeeze(-1).float()  # [2 * batch]
        chosen, rejected = scores.chunk(2)
        ranking = ranking_loss(chosen, rejected, inputs["margin"])
        safety = safety_loss(scores, inputs["is_safe"])
        loss = ranking + self.safety_loss_weight * safety
        if self.args.center_rewards_coefficient is not None:
            loss = loss + self.args.center_rewards_coefficient * centering_loss(chosen, rejected)
        self._note("train" if model.training else "eval", chosen, rejected, ranking_loss=ranking, safety_loss=safety)
        return (loss, outputs) if return_outputs else loss

    @torch.no_grad()
    def _note(self, mode: str, chosen, rejected, **losses) -> None:
        """Keep this batch's figures, averaged over processes, for the next log line."""
        figures = {"accuracy": (chosen > rejected).float(), "score_gap": chosen - rejected, "score": chosen + rejected}
        means = torch.stack([figure.mean() for figure in (*figures.values(), *losses.values())])
        means = self.accelerator.reduce(means.detach(), reduction="mean").tolist()
        for name, mean in zip((*figures, *losses), means, strict=True):
            self._metrics[mode][name].append(mean / 2 if name == "score" else mean)
