"""Supervised fine-tuning: our tokens and labels, TRL's trainer (section 3.1).

Full or LoRA (`use_peft`; merged in the end, the adapter beside it), packed or padded, resumed from the last checkpoint
of a killed run.
"""

import random
from dataclasses import dataclass, field
from typing import Any, Literal

from datasets import Dataset
from trl import ModelConfig, SFTConfig, SFTTrainer, get_peft_config, get_quantization_config

from chat_model.errors import InputError
from chat_model.loading import TINY, load_causal_lm, load_tokenizer
from chat_model.lora_training import check_quantization, finish_merged
from chat_model.stage import StageRun
from chat_model.tokenizer import train_tokenizer
from chat_model.training import MetricsLog, resume_from
from sft.chat_template import set_chat_template
from sft.data import read_documents, texts_of, tokenize
from sft.rehearsal import rehearse
from sft.trainer import LabelledTrainer


@dataclass
class SFTArguments:
    """What to train on. The trainer's fields are those of `trl.SFTConfig`, the model's those of `trl.ModelConfig`."""

    dataset_name: list[str] = field(metadata={"help": "Files, folders or hub ids with `messages`, or with plain text."})
    eval_dataset_name: list[str] = field(default_factory=list, metadata={"help": "The same, for the held-out loss."})
    eval_share: float = field(
        default=0.0, metadata={"help": "Share of the training rows held out for the loss instead."}
    )
    rehearsal_dataset_name: list[str] = field(
        default_factory=list, metadata={"help": "Earlier data, mixed in so that it is not forgotten."}
    )
    rehearsal_share: float = field(default=0.0, metadata={"help": "Its share of the training rows, drawn by the seed."})
    text_column: str = field(default="text", metadata={"help": "Column of plain text, in rows without `messages`."})
    tokenizer_name_or_path: str | None = field(default=None, metadata={"help": "Tokenizer, where not the model's own."})
    chat_template: Literal["own", "llama2", "training"] = field(
        default="own",
        metadata={
            "help": "own: the tokenizer's; llama2: Llama 2's, for a base model that has none; training: TRL's version "
            "of the tokenizer's, in which every answer reads as the last one does, its own where TRL has none."
        },
    )
    vocab_size: int = field(default=1024, metadata={"help": "Tokens of the tokenizer trained for a `tiny:` model."})


def train(run: StageRun, arguments: SFTArguments, config: SFTConfig, model_config: ModelConfig) -> None:
    """Train and leave model, tokenizer, held-out loss and the account of rows in `run.folder`."""
    check_quantization(model_config)
    documents, held_out = _documents(run, arguments, config.seed)
    tokenizer = make_tokenizer(arguments, config, model_config, documents)
    train_rows = tokenize(tokenizer, documents, config.max_length)
    eval_rows = tokenize(tokenizer, held_out, config.max_length) if held_out else None
    run.count(train=train_rows.report(), **({"held_out": eval_rows.report()} if eval_rows else {}))

    trainer = make_trainer(run, tokenizer, train_rows.rows, eval_rows.rows if eval_rows else None, config, model_config)
    result = trainer.train(resume_from_checkpoint=resume_from(run))
    run.record(train_loss=result.training_loss, train_seconds=result.metrics["train_runtime"])
    if eval_rows:
        run.record(held_out_loss=trainer.evaluate()["eval_loss"])
    finish_merged(run, trainer, lambda: _model(tokenizer, config, model_config))


def _documents(run: StageRun, arguments: SFTArguments, seed: int) -> tuple[list, list]:
    """Return what to train on, rehearsal included, and what is held out."""

    def read(names: list[str]) -> list:
        return [document for name in names for document in read_documents(name, arguments.text_column)]

    documents, held_out = read(arguments.dataset_name), read(arguments.eval_dataset_name)
    if arguments.eval_share and not held_out:
        documents, held_out = _split(documents, arguments.eval_share, seed)
    mixture = rehearse(documents, read(arguments.rehearsal_dataset_name), arguments.rehearsal_share, seed)
    run.count(rehearsed=len(mixture) - len(documents))
    return mixture, held_out


def make_trainer(
    run: StageRun, tokenizer: Any, rows: list, eval_rows: list | None, config: SFTConfig, model_config: ModelConfig
) -> SFTTrainer:
    """Return TRL's trainer over tokenized rows. Labels are ours, so its own preparation is needed for packing alone."""
    if not config.packing:
        config.dataset_kwargs = {"skip_prepare_dataset": True}
    return LabelledTrainer(
        model=_model(tokenizer, config, model_config, get_quantization_config(model_config)),
        args=config,
        train_dataset=Dataset.from_list(rows),
        eval_dataset=Dataset.from_list(eval_rows) if eval_rows else None,
        processing_class=tokenizer,
        peft_config=get_peft_config(model_config),
        callbacks=[MetricsLog(run)],
    )


def _split(documents: list, share: float, seed: int) -> tuple[list, list]:
    if not 0 < share < 1:
        raise InputError(f"eval_share: found {share}; expected a share between 0 and 1")
    shuffled = random.Random(seed).sample(documents, len(documents))
    num_held_out = max(1, round(share * len(documents)))
    return shuffled[num_held_out:], shuffled[:num_held_out]


def make_tokenizer(arguments: SFTArguments, config: SFTConfig, model_config: ModelConfig, documents: list) -> Any:
    """Return the tokenizer to train with: the named one, the model's own, or for a tiny model one made of the rows."""
    name = arguments.tokenizer_name_or_path
    if name is None and str(model_config.model_name_or_path).startswith(TINY):
        return train_tokenizer(texts_of(documents), arguments.vocab_size)
    tokenizer = load_tokenizer(name or model_config.model_name_or_path, config.trust_remote_code)
    set_chat_template(tokenizer, arguments.chat_template)
    return tokenizer


def _model(tokenizer: Any, config: SFTConfig, model_config: ModelConfig, quantization: Any = None) -> Any:
    return load_causal_lm(
        model_config.model_name_or_path,
        tokenizer,
        dtype=model_config.dtype,
        attn_implementation=model_config.attn_implementation,
        trust_remote_code=config.trust_remote_code,
        revision=model_config.model_revision,
        quantization_config=quantization,
    )
