"""The shared-base layout: one frozen base model, with LoRA adapters as policy, critic, reference and reward models.

A 7B model's whole PPO then holds the 7B weights once, not five times, and gradients and moments of adapters alone. The
policy starts from the base with a new or a given adapter; the reference is the base with a copy of that adapter, or
bare; both reward models are adapters that `reward_model` trained from the same base, and the critic starts as the
helpfulness one. The base can be held in bf16 or four bits; what is trained is fp32.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput

from chat_model.adapters import ADAPTER_FOLDER, LoraAdapters, merge_adapter
from chat_model.last_layer import last_layer_only_at
from chat_model.log_probs import response_log_probs
from rlhf.ppo.models.interface import TRAINED_PARTS, TrainedModels, TrainedPart


class SharedBase(TrainedModels):
    """Policy and critic as adapters of one base, and every other model of PPO beside them; see `TrainedModels`.

    Its state dict holds what is trained: policy, critic and the critic's head. The rest is read from its files again.

    Args:
        adapters: "policy", "critic", "helpfulness" and "safety", and "reference" unless the reference is the bare base.
        heads: [1, hidden] linear layers of "critic", "helpfulness" and "safety".
        base_name: hub id or folder of the base model.
    """

    def __init__(self, adapters: LoraAdapters, heads: Mapping[str, nn.Linear], base_name: str):
        super().__init__()
        self.adapters, self.heads, self.base_name = adapters, nn.ModuleDict(heads), base_name
        self.heads.requires_grad_(False)["critic"].requires_grad_(True)
        self.register_state_dict_post_hook(_keep_trained)
        self.register_load_state_dict_post_hook(_expect_trained)

    def critic_scores(self, token_ids: Tensor, attention_mask: Tensor, places: Tensor) -> Tensor:
        return self.scores("critic", token_ids, attention_mask, places)

    def await_backward(self, output: Tensor) -> None:
        self.adapters.hold_until_backward(output)

    def causal_lm(self, name: str) -> Any:
        """Return the base model computing as adapter `name` until another is asked for."""
        bare = name == "reference" and name not in self.adapters.names
        self.adapters.activate(None if bare else name)
        return self.adapters.base

    def scores(self, name: str, token_ids: Tensor, attention_mask: Tensor, places: Tensor) -> Tensor:
        """Return the scalar head's score under adapter `name`, fp32 [batch, time]; off `places` it means nothing."""
        body, head = self.causal_lm(name).get_decoder(), self.heads[name]
        with last_layer_only_at(body, places):
            hidden = body(input_ids=token_ids, attention_mask=attention_mask, use_cache=False).last_hidden_state
        return head(hidden.to(head.weight.dtype)).squeeze(-1).float()

    def trained_names(self) -> list[str]:
        """Return the names in the state dict of what is trained."""
        adapters = [path for part in TRAINED_PARTS for path in self.adapters.parameters_of(part)]
        return [*(f"adapters.{path}" for path in adapters), *(f"heads.critic.{name}" for name in self._head("critic"))]

    def parameters_of(self, part: TrainedPart) -> list[nn.Parameter]:
        return [*self.adapters.parameters_of(part).values(), *self._head(part).values()]

    def sampling_policy(self) -> Any:
        return self.causal_lm("policy")

    def save_policy(self, folder: Path, state: dict[str, Tensor]) -> None:
        """Write the adapter to `adapter/`, and a copy of the base in fp32 with the adapter merged in to `folder`."""
        mine = {name.removeprefix("adapters."): tensor for name, tensor in state.items()}
        self.adapters.save("policy", folder / ADAPTER_FOLDER, self.base_name, mine)
        merge_adapter(self.base_name, folder / ADAPTER_FOLDER).save_pretrained(folder)

    def _head(self, part: str) -> dict[str, nn.Parameter]:
        return dict(self.heads[part].named_parameters()) if part in self.heads else {}


@dataclass(frozen=True)
class SharedReference:
    """The reference on the shared base; see `Reference`."""

    module: SharedBase

    @property
    def model(self) -> Any:
        """The base model computing as the reference until another adapter is asked for."""
        return self.module.causal_lm("reference")

    def __call__(self, token_ids: Tensor, attention_mask: Tensor, response_mask: Tensor, temperature: float) -> Tensor:
        return response_log_probs(self.model, token_ids, attention_mask, response_mask, temperature)[0]


class SharedClassifier(nn.Module):
    """An adapter and head of the shared base as the one-label sequence classifier that `RewardScorer` runs.

    Args:
        name: "helpfulness" or "safety".
        pad_token_id: of the one tokenizer; rows are padded with it on the right.
    """

    def __init__(self, module: SharedBase, name: str, pad_token_id: int):
        super().__init__()
        self.module, self.name = module, name
        self.config = copy.deepcopy(module.adapters.base.config)
        self.config.num_labels, self.config.get_text_config().pad_token_id = 1, pad_token_id
        self.eval()

    @property
    def device(self) -> torch.device:
        """Where the base model is."""
        return self.module.adapters.base.device

    @property
    def base_model(self) -> Any:
        """The decoder that reads the rows, by the name that transformers' classifiers have for it."""
        return self.module.adapters.base.get_decoder()

    def forward(self, input_ids: Tensor, attention_mask: Tensor, use_cache: bool = False) -> SequenceClassifierOutput:
        """Return the score [batch, 1] at the last token that is not padding."""
        scores = self.module.scores(self.name, input_ids, attention_mask, attention_mask.bool())
        last = attention_mask.sum(dim=1, keepdim=True) - 1
        return SequenceClassifierOutput(logits=scores.gather(1, last))


def _keep_trained(module: SharedBase, state: dict[str, Tensor], prefix: str, metadata: Any) -> None:
    trained = {prefix + name for name in module.trained_names()}
    for name in [name for name in state if name.startswith(prefix) and name not in trained]:
        del state[name]


def _expect_trained(module: SharedBase, keys: Any) -> None:
    """Do not miss what `_keep_trained` left out; DDP puts a prefix before the names."""
    trained = set(module.trained_names())
    keys.missing_keys[:] = [name for name in keys.missing_keys if name.removeprefix("module.") in trained]
