"""The stage that collects preferences: sample from two checkpoints, pair, annotate, write `preferences.jsonl`."""

import random
from dataclasses import dataclass, field

from chat_model.dotted import resolve
from chat_model.errors import InputError
from chat_model.rows import write_rows
from chat_model.stage import StageRun
from rlhf.preferences.annotation import annotate_pairs, tally
from rlhf.preferences.pairing import Source, pair_responses, sample_responses
from rlhf.prompt_sets import draw_prompts


@dataclass
class PreferencesConfig:
    """Whose responses are compared, on which prompts, by whom."""

    model_name_or_path: str = field(metadata={"help": "The newest chat checkpoint."})
    prompts: str = field(metadata={"help": "File, folder or hub id with `prompt` and `is_safety`."})
    annotator: str = field(metadata={"help": "Dotted name of the function that compares two responses."})
    output_dir: str = field(metadata={"help": "Folder to write to."})
    previous_model: str | None = field(default=None, metadata={"help": "The other checkpoint; default: the newest."})
    temperature: float = field(default=0.9, metadata={"help": "Of the newest checkpoint."})
    previous_temperature: float = field(default=1.1, metadata={"help": "Of the other one."})
    num_prompts: int | None = field(default=None, metadata={"help": "Prompts drawn for this round; default: all."})
    max_new_tokens: int = field(default=512, metadata={"help": "Bound of a response, in tokens."})
    batch_tokens: int = field(default=32768, metadata={"help": "Bound of rows x tokens in a generation batch."})
    seed: int = field(
        default=0, metadata={"help": "Of the draw of prompts, the sampling, the order and the annotator."}
    )


def collect(run: StageRun, config: PreferencesConfig) -> None:
    """Write `preferences.jsonl` and count pairs by domain, rating, bin and reason of being dropped."""
    annotator = resolve(config.annotator)
    prompts = draw_prompts(config.prompts, config.num_prompts, config.seed)
    newest = Source(config.model_name_or_path, config.temperature)
    other = Source(config.previous_model or config.model_name_or_path, config.previous_temperature)
    if newest == other:
        raise InputError(
            "previous_model: the same checkpoint at the same temperature; expected two variants (section 3.2.1)"
        )
    responses = [
        (source, sample_responses(source, prompts, max_new_tokens=config.max_new_tokens, seed=config.seed + offset,
                                  batch_tokens=config.batch_tokens))
        for offset, source in ((0, newest), (500_009, other))
    ]  # fmt: skip
    if run.is_main:
        rng = random.Random(config.seed)
        pairs, dropped = pair_responses(prompts, responses, rng)
        rows, excluded = annotate_pairs(pairs, annotator, rng)
        write_rows(run.folder / "preferences.jsonl", rows)
        run.count(prompts=len(prompts), pairs=len(rows), **dropped, **excluded, **tally(rows))
