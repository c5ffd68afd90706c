"""RewardScorer: conversations to scores, what they begin with in common computed once. All that `rlhf` and `gatt`
import from here.

The score r is raw; sigma(r) is the paper's R (section 3.2.3). Keep r: logit(sigma(r)) loses what low precision rounds.
A calibration that is stored with the checkpoint is applied, see `reward_model.calibration`.
"""

import functools
import warnings
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list, gather_object
from torch import Tensor
from tqdm.auto import tqdm

from chat_model.check_up import CheckUp
from chat_model.conversation import Message
from chat_model.errors import InputError
from chat_model.last_layer import last_layer_only_at, last_places
from chat_model.loading import load_scalar_model, load_tokenizer
from chat_model.processes import process_state
from chat_model.template import render_token_ids
from chat_model.tensor_parallel import ALONE, from_leader, load_on_device, replica_of
from reward_model.calibration import Calibration, read_calibration, reads_as_safety
from reward_model.pair_batch import common_prefix, one_row_a_dialogue, one_row_each, probe, shared_row_scores
from reward_model.score_batches import batch_groups, group_by_beginning
from reward_model.score_cache import ScoreCache, model_fingerprint, text_key

__all__ = ["RewardScorer", "batch_tokens_for", "check_scorer", "reads_as_safety"]

_BATCH_TOKENS = 16_384
_BATCH_TOKENS_ON_CPU = 2_048  # activations of more leave the processor's caches
_SCORE_TOLERANCE = 1e-3  # of a score in fp32, alone and beside longer texts
_LONGEST_SHARED_ROW = 4_096  # a longer one spends more on attention than its prompt would cost again

Keys = list[list[bytes]]  # of a forward pass: the texts of each row


def batch_tokens_for(device: torch.device) -> int:
    """Return how many tokens, padding included, a forward pass takes on `device` where nobody says."""
    return _BATCH_TOKENS_ON_CPU if device.type == "cpu" else _BATCH_TOKENS


class RewardScorer:
    """A reward model with its own tokenizer and template, ready to score.

    Args:
        model: a one-label sequence classification model, or a PEFT adapter on one.
        tokenizer: the one the model was trained with.
        batch_tokens: tokens in a forward pass, padding included; a longer conversation is a batch of its own. None is
            `batch_tokens_for` the model's device.
        calibration: applied to every score.
        cache: folder of scores kept on disk, found again by the model's weights as they are now and the rendered
            tokens; None keeps none.

    Raises:
        InputError: the model has another number of labels, an adapter with learnt prompts, or a pad token that is also
            its end token: the model scores the last token that is no padding, which would then be the one before the
            end.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        batch_tokens: int | None = None,
        calibration: Calibration | None = None,
        cache: str | Path | None = None,
    ):
        pad_token_id = model.config.get_text_config().pad_token_id
        if model.config.num_labels != 1:
            raise InputError(f"a reward model has one label, found {model.config.num_labels}")
        if pad_token_id is None or pad_token_id == tokenizer.eos_token_id:
            raise InputError(f"the reward model's pad token ({pad_token_id}) must exist and differ from the end token")
        adapter = getattr(model, "active_peft_config", None)
        if adapter is not None and adapter.is_prompt_learning:  # transformers then finds no padding, and scores it
            raise InputError(
                f"a reward model with learnt prompts ({adapter.peft_type.value}) cannot be scored; use LoRA"
            )
        self.model, self.tokenizer, self.calibration = model, tokenizer, calibration
        self.batch_tokens, self.pad_token_id = batch_tokens or batch_tokens_for(model.device), pad_token_id
        self.cache = ScoreCache(cache, model_fingerprint(model)) if cache else None

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        batch_tokens: int | None = None,
        dtype: str = "float32",
        device: str | torch.device | None = None,
        cache: str | Path | None = None,
        calibrated: bool = True,
    ) -> "RewardScorer":
        """Load a checkpoint of this package, any one-label sequence classification model, or a LoRA adapter of one.

        Args:
            path: folder or hub id; an adapter is not merged into the base model that it names.
            device: where the model goes, whole; by default this process's accelerator, or the CPU, and every process
                calls: where ``ROUNDS_TENSOR_PARALLEL`` says so, several hold the model together.
            calibrated: apply the calibration that is stored with the checkpoint, if there is one.

        Raises:
            InputError: see the class; also a checkpoint without a trained scalar head.
        """
        load = functools.partial(load_scalar_model, path, trained_head=True, dtype=dtype)
        model = load_on_device(load) if device is None else load().to(device)
        calibration = read_calibration(path) if calibrated else None
        return cls(model, load_tokenizer(path), batch_tokens, calibration, cache)

    def score(
        self,
        conversations: Sequence[Sequence[Message]],
        across_processes: bool = False,
        description: str | None = None,
    ) -> Tensor:
        """Return the score of each conversation [N], fp32, on the CPU, in the order given; equal ones are scored once.

        Args:
            across_processes: every process calls with the same conversations, scores its share of them and gets all
                scores. Otherwise each call stands alone, whichever process makes it.
            description: of a progress bar; None shows none.
        """
        token_ids = render_token_ids(self.tokenizer, conversations)
        self._warn_beyond_context(token_ids)
        keys = [text_key(ids) for ids in token_ids]
        known = self._scores_of(dict(zip(keys, token_ids, strict=True)), across_processes, description)
        scores = torch.tensor([known[key] for key in keys], dtype=torch.float32)
        return self.calibration.apply(scores) if self.calibration else scores

    def _scores_of(
        self, texts: Mapping[bytes, list[int]], across_processes: bool, description: str | None
    ) -> dict[bytes, float]:
        """Return the raw score of each text, by its key; those that the cache does not know are computed."""
        replica, is_main = replica_of(self.model) if across_processes else ALONE, process_state().is_main_process
        plan = self._plan(texts)  # one for all, since another process may have found more by now
        known, batches = broadcast_object_list([*plan]) if replica.count > 1 else from_leader(self.model, plan)
        own = batches[replica.number :: replica.count]
        computed = self._compute(texts, own, description if is_main else None)
        if replica.count > 1:
            computed = dict(gather_object(list(computed.items()) if replica.leads else []))
        return known | computed

    def _plan(self, texts: Mapping[bytes, list[int]]) -> tuple[dict[bytes, float], list[Keys]]:
        """Return the scores that the cache knows, and the forward passes that give the others.

        A pass of which nothing is known is one that would have been without a cache: so a killed run that goes on ends
        with the very scores of a run that was left alone.
        """
        known = self.cache.look_up(texts) if self.cache else {}
        if len(known) == len(texts):
            return known, []
        passes = [each for each in self._passes(texts) if not any(key in known for key in chain.from_iterable(each))]
        planned = {key for each in passes for key in chain.from_iterable(each)}
        rest = {key: text for key, text in texts.items() if key not in known and key not in planned}
        return known, passes + self._passes(rest)

    def _passes(self, texts: Mapping[bytes, list[int]]) -> list[Keys]:
        """Return the forward passes that score `texts`."""
        keys, token_ids = list(texts), list(texts.values())
        groups = group_by_beginning(token_ids, min(self.batch_tokens, _LONGEST_SHARED_ROW))
        if len(groups) < len(keys) and not self._takes_shared_rows:
            groups = [[index] for index in range(len(keys))]
        batches = batch_groups(token_ids, groups, self.batch_tokens)
        return [[[keys[index] for index in group] for group in batch] for batch in batches]

    @functools.cached_property
    def _takes_shared_rows(self) -> bool:
        """Whether conversations that begin alike may stand in one row; asked for and tried when there are some."""
        return probe(self._classifier, self.pad_token_id, self._attends_by_answer) is None

    @property
    def _attends_by_answer(self) -> bool:
        return self.model.device.type == "cpu"

    @property
    def _classifier(self) -> Any:
        """The model itself, with the layers of an adapter in it where there is one."""
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model

    def _compute(
        self, texts: Mapping[bytes, list[int]], batches: Sequence[Keys], description: str | None
    ) -> dict[bytes, float]:
        """Return the raw scores of the keys in `batches`; the cache remembers each batch at once."""
        computed: dict[bytes, float] = {}
        was_training = self.model.training
        self.model.eval()
        for batch in tqdm(batches, desc=description, disable=description is None, leave=False):
            scores = self._score_batch([[texts[key] for key in group] for group in batch]).tolist()
            found = dict(zip(chain.from_iterable(batch), scores, strict=True))
            computed |= found
            if self.cache:
                self.cache.store(found)
        self.model.train(was_training)
        return computed

    @torch.no_grad()
    def _score_batch(self, groups: Sequence[Sequence[list[int]]]) -> Tensor:
        """Return the raw scores of the texts in `groups`, group by group [texts], fp32, on the CPU."""
        if all(len(group) == 1 for group in groups):
            rows = self._to_device(one_row_a_dialogue([text for (text,) in groups], self.pad_token_id))
            with last_layer_only_at(self._classifier.base_model, last_places(rows["input_ids"] != self.pad_token_id)):
                return self.model(**rows, use_cache=False).logits.squeeze(-1).float().cpu()
        prefixes = [common_prefix(group) for group in groups]
        rows = self._to_device(one_row_each(groups, prefixes, self.pad_token_id))
        return (
            shared_row_scores(self._classifier, **rows, by_answer=self._attends_by_answer)[rows["ends"] >= 0]
            .float()
            .cpu()
        )

    def _to_device(self, rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensor.to(self.model.device) for name, tensor in rows.items()}

    def _warn_beyond_context(self, token_ids: Sequence[Sequence[int]]) -> None:
        context = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        beyond = sum(len(ids) > context for ids in token_ids) if context else 0
        if beyond:
            warnings.warn(
                f"{beyond} of {len(token_ids)} conversations are longer than the reward model's context of {context} "
                "tokens; their scores mean little",
                stacklevel=3,
            )


def check_scorer(check_up: CheckUp, checkpoint: str, conversations: Sequence[Sequence[Message]]) -> None:
    """Check that a trained reward model loads with its head, and scores a text alike alone and in a padded batch."""
    with check_up.check(
        "reward model scores",
        "scores that hang on the padding, or on a random head, are noise that rejection sampling and PPO will optimise",
        "train the reward model again; give its tokenizer a pad token that is not the end token",
    ):
        path = check_up.models.checkpoint(checkpoint, is_scalar=True)
        if path is None or not conversations:
            check_up.waiting["reward model scores"] = f"a checkpoint or texts for {checkpoint}"
            return
        scorer = RewardScorer.from_checkpoint(path, device="cpu", calibrated=False)
        together = scorer.score(conversations)
        alone = torch.cat([scorer.score([each]) for each in conversations])
        if not torch.allclose(together, alone, atol=_SCORE_TOLERANCE, rtol=_SCORE_TOLERANCE):
            difference = (together - alone).abs().max().item()
            raise InputError(
                f"{checkpoint}: a text's score differs by up to {difference:.3g} with the padding beside it"
            )
