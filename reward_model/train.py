"""Train one reward model, measure it on held-out prompts, and prove the saved checkpoint (section 3.2.2).

It starts from a chat checkpoint, which knows what the policy knows; the LM head is replaced by a scalar one. What is
left in the output folder is a plain one-label `AutoModelForSequenceClassification`, LoRA merged in; a quantized base
(QLoRA) is for training alone, the adapter is merged into the base as it was loaded from.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from datasets import Dataset
from trl import ModelConfig, RewardConfig, get_peft_config, get_quantization_config

from chat_model.adapters import read_adapter
from chat_model.conversation import PreferencePair
from chat_model.errors import InputError
from chat_model.loading import load_scalar_model, load_tokenizer
from chat_model.lora_training import check_quantization, finish_merged
from chat_model.stage import StageRun
from chat_model.training import MetricsLog, resume_from
from reward_model.arguments import RewardModelArguments
from reward_model.data import encode_pairs
from reward_model.earlier import check_earlier, hold_against_earlier, score_with_earlier
from reward_model.evaluate.measures import measure, record_evaluation
from reward_model.evaluate.scored_pairs import score_pairs
from reward_model.model_card import write_model_card
from reward_model.scoring import RewardScorer
from reward_model.selection import select_pairs
from reward_model.trainer import MarginRewardTrainer

_NUM_PROBES = 16
_TOLERANCE = {torch.float32: 1e-4}  # of a score that was saved and loaded again
_LOW_PRECISION_TOLERANCE = 5e-2


def train(run: StageRun, arguments: RewardModelArguments, config: RewardConfig, model_config: ModelConfig) -> None:
    """Leave a trained, evaluated and reloaded reward model in `run.folder`; accuracies go to `run.json`.

    Raises:
        InputError: a mistake in the configuration or the data.
        RuntimeError: the saved checkpoint scores differently from the trained model.
    """
    train_pairs, test_pairs = select_pairs(run, arguments, config.seed)
    tokenizer = load_tokenizer(_name(model_config), trust_remote_code=config.trust_remote_code)
    check_quantization(model_config)
    check_earlier(arguments, model_config.use_peft)
    earlier = score_with_earlier(arguments, test_pairs, model_config.dtype or "float32")
    model = _load(tokenizer, config, model_config, get_quantization_config(model_config))
    rows = encode_pairs(train_pairs, tokenizer, arguments.margin, config.max_length, arguments.on_too_long)
    run.count(
        dropped_too_long=len(train_pairs) - len(rows),
        truncated=sum(cut > 0 for cut in rows["cut_from_prompt"]),
        trained_on=len(rows),
    )
    trainer = _trainer(run, model, tokenizer, rows, arguments, config, model_config)
    result = trainer.train(resume_from_checkpoint=resume_from(run))
    run.record(train_loss=result.training_loss, train_seconds=result.metrics["train_runtime"], **trainer.count_tokens())
    merged = finish_merged(run, trainer, lambda: _load(tokenizer, config, model_config))
    if merged is None:
        scorer = RewardScorer.from_checkpoint(run.folder, arguments.score_batch_tokens, model_config.dtype or "float32")
        check_head(run, scorer)
    else:
        scorer = RewardScorer(merged, tokenizer, arguments.score_batch_tokens)
        check_reload(run, scorer, test_pairs[:_NUM_PROBES])
    scored = score_pairs(test_pairs, scorer)
    if earlier is not None:
        scored = hold_against_earlier(run, arguments, scored, earlier)
    evaluation = measure(scored, arguments.domain)
    record_evaluation(run, evaluation)
    write_model_card(run, evaluation, arguments, config, model_config)


def _name(model_config: ModelConfig) -> str:
    if not model_config.model_name_or_path:
        raise InputError("model_name_or_path is missing; expected the chat checkpoint to start from")
    return model_config.model_name_or_path


def _load(tokenizer: Any, config: RewardConfig, model_config: ModelConfig, quantization: Any = None) -> Any:
    return load_scalar_model(
        _name(model_config),
        tokenizer,
        dtype=model_config.dtype,
        attn_implementation=model_config.attn_implementation,
        trust_remote_code=config.trust_remote_code,
        quantization_config=quantization,
    )


def _trainer(
    run: StageRun,
    model: Any,
    tokenizer: Any,
    rows: Dataset,
    arguments: RewardModelArguments,
    config: RewardConfig,
    model_config: ModelConfig,
) -> MarginRewardTrainer:
    return MarginRewardTrainer(
        model=model,
        args=config,
        train_dataset=rows,
        processing_class=tokenizer,
        # For any other task type PEFT would leave the new head untrained and unsaved; TRL's default is CAUSAL_LM.
        peft_config=get_peft_config(replace(model_config, lora_task_type="SEQ_CLS")),
        callbacks=[MetricsLog(run)],
        safety_loss_weight=arguments.safety_loss_weight,
        batch_tokens=arguments.train_batch_tokens,
        share_prompt=arguments.share_prompt,
    )


def check_head(run: StageRun, scorer: RewardScorer) -> None:
    """Compare the head of the checkpoint, which `scorer` has loaded, with that of the adapter beside it.

    Raises:
        RuntimeError: the two differ.
    """
    trained, found = read_adapter(run.folder).head, scorer.model.score.weight.detach().cpu()
    if trained is None or not torch.equal(trained.to(found.dtype), found):
        raise RuntimeError(f"{run.folder}: the merged reward model has another head than the trained adapter")


def check_reload(run: StageRun, scorer: RewardScorer, probes: Sequence[PreferencePair]) -> None:
    """Load the saved checkpoint and compare its scores on `probes`: a head that was not saved shows here.

    Raises:
        RuntimeError: the scores differ, or are no numbers.
    """
    texts = [pair.prompt + answer for pair in probes for answer in (pair.chosen, pair.rejected)]
    trained, model = scorer.score(texts), scorer.model
    if not run.is_main:
        return
    dtype = str(model.dtype).removeprefix("torch.")
    reloaded = RewardScorer.from_checkpoint(run.folder, scorer.batch_tokens, dtype, model.device).score(texts)
    tolerance = _TOLERANCE.get(model.dtype, _LOW_PRECISION_TOLERANCE)
    if not torch.allclose(trained, reloaded, rtol=tolerance, atol=tolerance):
        difference = (trained - reloaded).abs().max().item()
        raise RuntimeError(f"{run.folder}: the reloaded reward model scores differently, by up to {difference}")
