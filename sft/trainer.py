"""TRL's SFT trainer, with the last layer computed only where a token with loss is predicted.

Prompts, and in Ghost Attention's dialogues all turns but the last (section 3.3), have no loss: nothing reads their last
layer, and TRL makes logits at labelled positions alone already.
"""

from typing import Any

from trl import SFTTrainer

from chat_model.last_layer import last_layer_only_at
from chat_model.log_probs import places_before

_NO_LOSS = -100


class LabelledTrainer(SFTTrainer):
    """`trl.SFTTrainer`; the same loss and gradients in less arithmetic."""

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Return the loss as `trl.SFTTrainer` does; arguments are its own."""
        if self.args.torch_compile:  # a layer that changes with every batch would be compiled for each
            return super().compute_loss(model, inputs, *args, **kwargs)
        body = self.accelerator.unwrap_model(model).get_decoder()
        with last_layer_only_at(body, places_before(inputs["labels"] != _NO_LOSS)):
            return super().compute_loss(model, inputs, *args, **kwargs)
