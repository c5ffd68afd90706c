"""RewardScorer: conversations to scores, in batches of like length. All that `rlhf` and `gatt` import from here.

The score r is raw; sigma(r) is the paper's R (section 3.2.3). Keep r: logit(sigma(r)) loses what low precision rounds.
A calibration that is stored with the checkpoint is applied, see `reward_model.calibration`.
"""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list, gather_object
from torch import Tensor
from tqdm.auto import tqdm

from chat_model.check_up import CheckUp
from chat_model.conversation import Message
from chat_model.errors import InputError
from chat_model.generation import batches_by_length
from chat_model.loading import load_scalar_model, load_tokenizer
from chat_model.processes import process_state
from chat_model.template import render
from reward_model.calibration import Calibration, read_calibration, reads_as_safety
from reward_model.score_cache import ScoreCache, model_fingerprint, text_key

__all__ = ["BATCH_TOKENS", "RewardScorer", "check_scorer", "reads_as_safety"]

BATCH_TOKENS = 16_384
_SCORE_TOLERANCE = 1e-3  # of a score in fp32, alone and beside longer texts


class RewardScorer:
    """A reward model with its own tokenizer and template, ready to score.

    Args:
        model: a one-label sequence classification model, or a PEFT adapter on one.
        tokenizer: the one the model was trained with.
        batch_tokens: tokens in a forward pass, padding included; a longer conversation is a batch of its own.
        calibration: applied to every score.
        cache: folder of scores kept on disk, found again by the model's weights as they are now and the rendered
            tokens; None keeps none.

    Raises:
        InputError: the model has another number of labels, or its pad token is also its end token: the model scores
            the last token that is no padding, which would then be the one before the end.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        batch_tokens: int = BATCH_TOKENS,
        calibration: Calibration | None = None,
        cache: str | Path | None = None,
    ):
        pad_token_id = model.config.get_text_config().pad_token_id
        if model.config.num_labels != 1:
            raise InputError(f"a reward model has one label, found {model.config.num_labels}")
        if pad_token_id is None or pad_token_id == tokenizer.eos_token_id:
            raise InputError(f"the reward model's pad token ({pad_token_id}) must exist and differ from the end token")
        self.model, self.tokenizer, self.calibration = model, tokenizer, calibration
        self.batch_tokens, self.pad_token_id = batch_tokens, pad_token_id
        self.cache = ScoreCache(cache, model_fingerprint(model)) if cache else None

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        batch_tokens: int = BATCH_TOKENS,
        dtype: str = "float32",
        device: str | torch.device | None = None,
        cache: str | Path | None = None,
        calibrated: bool = True,
    ) -> "RewardScorer":
        """Load a checkpoint of this package, any one-label sequence classification model, or a LoRA adapter of one.

        Args:
            path: folder or hub id; an adapter is not merged into the base model that it names.
            device: default: this process's accelerator, or the CPU.
            calibrated: apply the calibration that is stored with the checkpoint, if there is one.

        Raises:
            InputError: see the class; also a checkpoint without a trained scalar head.
        """
        model = load_scalar_model(path, trained_head=True, dtype=dtype).to(device or process_state().device)
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
        token_ids = [render(self.tokenizer, messages).token_ids for messages in conversations]
        self._warn_beyond_context(token_ids)
        keys = [text_key(ids) for ids in token_ids]
        known = self._scores_of(dict(zip(keys, token_ids, strict=True)), across_processes, description)
        scores = torch.tensor([known[key] for key in keys], dtype=torch.float32)
        return self.calibration.apply(scores) if self.calibration else scores

    def _scores_of(
        self, texts: Mapping[bytes, list[int]], across_processes: bool, description: str | None
    ) -> dict[bytes, float]:
        """Return the raw score of each text, by its key; those that the cache does not know are computed."""
        state = process_state()
        rank, ranks = (state.process_index, state.num_processes) if across_processes else (0, 1)
        known = self.cache.look_up(texts) if self.cache else {}
        if ranks > 1:
            (known,) = broadcast_object_list([known])  # another process may have found more by now
        missing = [key for key in texts if key not in known]
        batches = batches_by_length([len(texts[key]) for key in missing], self.batch_tokens)[rank::ranks]
        shown = description if state.is_main_process else None
        computed = self._compute(texts, [[missing[index] for index in batch] for batch in batches], shown)
        return known | (dict(gather_object(list(computed.items()))) if ranks > 1 else computed)

    def _compute(
        self, texts: Mapping[bytes, list[int]], batches: Sequence[Sequence[bytes]], description: str | None
    ) -> dict[bytes, float]:
        """Return the raw scores of the keys in `batches`; the cache remembers each batch at once."""
        computed: dict[bytes, float] = {}
        was_training = self.model.training
        self.model.eval()
        for keys in tqdm(batches, desc=description, disable=description is None, leave=False):
            scores = self._score_batch([texts[key] for key in keys]).tolist()
            computed |= zip(keys, scores, strict=True)
            if self.cache:
                self.cache.store(dict(zip(keys, scores, strict=True)))
        self.model.train(was_training)
        return computed

    @torch.no_grad()
    def _score_batch(self, token_ids: list[list[int]]) -> Tensor:
        longest = max(map(len, token_ids))
        padded = torch.tensor([ids + [self.pad_token_id] * (longest - len(ids)) for ids in token_ids])
        lengths = torch.tensor([len(ids) for ids in token_ids])
        mask = torch.arange(longest) < lengths[:, None]
        device = self.model.device
        logits = self.model(padded.to(device), attention_mask=mask.long().to(device), use_cache=False).logits
        return logits.squeeze(-1).float().cpu()

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
