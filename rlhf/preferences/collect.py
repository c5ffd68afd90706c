"""The stage that collects preferences: sample from two checkpoints, pair, annotate, write `preferences.jsonl`.

Who annotates is the config's choice: rules, a judging model or people. The pairs stand in `pairs.jsonl` beside.
"""

import random
from dataclasses import dataclass, field
from pathlib import Path

from chat_model.dotted import resolve
from chat_model.engines import ENGINE_HELP, Engine
from chat_model.errors import InputError
from chat_model.rows import write_rows
from chat_model.stage import StageRun
from rlhf.preferences.annotation import PREFERENCES_FILE, preference_rows, tally
from rlhf.preferences.human.waiting import collect_annotations
from rlhf.preferences.judge.config import JudgeConfig
from rlhf.preferences.judge.judging import judge_pairs
from rlhf.preferences.pairing import Variant, pair_responses, sample_responses
from rlhf.preferences.response_pair import PAIRS_FILE, ResponsePair, read_pairs, write_pairs
from rlhf.preferences.rules import apply_rule
from rlhf.preferences.verdict import Verdict
from rlhf.prompt_sets import draw_prompts

JUDGE, HUMAN = "judge", "human"  # any other annotator is the dotted name of a rule
_SEED_OFFSET = 500_009  # of the other checkpoint's sampling


@dataclass
class PreferencesConfig:
    """Whose responses are compared, on which prompts, by whom."""

    annotator: str = field(
        metadata={"help": "'judge', 'human', or the dotted name of a function that compares two responses."}
    )
    output_dir: str = field(metadata={"help": "Folder to write to."})
    model_name_or_path: str | None = field(
        default=None, metadata={"help": "The newest chat checkpoint, or a folder with an adapter."}
    )
    prompts: str | None = field(
        default=None, metadata={"help": "File, folder or hub id with `prompt` and `is_safety`."}
    )
    pairs: str | None = field(default=None, metadata={"help": "A `pairs.jsonl` to annotate, instead of sampling one."})
    previous_model: str | None = field(default=None, metadata={"help": "The other checkpoint; default: the newest."})
    temperature: list[float] = field(
        default_factory=lambda: [0.9], metadata={"help": "Of the newest checkpoint; of several each prompt draws one."}
    )
    previous_temperature: list[float] = field(
        default_factory=lambda: [1.1], metadata={"help": "Of the other one, likewise."}
    )
    num_prompts: int | None = field(default=None, metadata={"help": "Prompts drawn for this round; default: all."})
    max_new_tokens: int = field(default=512, metadata={"help": "Bound of a response, in tokens."})
    dtype: str = field(default="float32", metadata={"help": "Precision of both checkpoints."})
    batch_tokens: int = field(default=32768, metadata={"help": "Bound of rows x tokens in a generation batch."})
    engine: Engine = field(default="transformers", metadata={"help": ENGINE_HELP})
    keep_ties: bool = field(default=True, metadata={"help": "Keep ties, as 'negligibly better' with a random winner."})
    annotations: str | None = field(
        default=None, metadata={"help": "Folder of the people's annotations; default: <output_dir>.annotations."}
    )
    seed: int = field(
        default=0, metadata={"help": "Of the draw of prompts, the sampling, the order and the annotator."}
    )


def collect(run: StageRun, config: PreferencesConfig, judge_config: JudgeConfig) -> None:
    """Write `pairs.jsonl` and `preferences.jsonl`, and count pairs by domain, rating, bin and reason of being dropped.

    Raises:
        InputError: a bad option or input, or nothing left to compare.
        JudgeFailed: the judge does not answer; the same command goes on from where it stopped.
        AnnotationsMissing: people have not annotated every pair yet; the same command goes on when they have.
    """
    check_settings(config, judge_config)
    rng = random.Random(config.seed)
    pairs = _pairs(run, config, rng)
    if run.is_main:
        verdicts = _annotate(run, config, judge_config, pairs, rng)
        kind = config.annotator if config.annotator in (JUDGE, HUMAN) else "rules"
        rows, left_out = preference_rows(pairs, verdicts, kind, config.keep_ties)
        if not rows:
            raise InputError(f"annotator {config.annotator}: left no pair of {len(pairs)} ({left_out})")
        write_rows(run.folder / PREFERENCES_FILE, rows)
        run.count(pairs=len(rows), **left_out, **tally(rows))


def _annotate(
    run: StageRun,
    config: PreferencesConfig,
    judge_config: JudgeConfig,
    pairs: list[ResponsePair],
    rng: random.Random,
) -> list[Verdict | None]:
    """Return one verdict a pair, by whichever annotator the config names."""
    match config.annotator:
        case "judge":
            judgement = judge_pairs(pairs, judge_config, run.beside("judge_answers.jsonl"))
            run.count(**judgement.counts)
            run.record(judge=judgement.report)
            return judgement.verdicts
        case "human":
            verdicts, agreement = collect_annotations(pairs, Path(config.annotations or run.beside("annotations")))
            run.record(annotators=agreement)
            return verdicts
        case name:
            return [*apply_rule(resolve(name), name, pairs, rng)]


def check_settings(config: PreferencesConfig, judge_config: JudgeConfig) -> None:
    """Raise InputError for what would otherwise only fail after the sampling, which may take hours."""
    if config.annotator == JUDGE:
        judge_config.check()
    elif config.annotator != HUMAN:
        resolve(config.annotator)
    if not config.pairs and not (config.model_name_or_path and config.prompts):
        raise InputError("expected model_name_or_path and prompts to sample from, or pairs")


def _pairs(run: StageRun, config: PreferencesConfig, rng: random.Random) -> list[ResponsePair]:
    """Return the pairs to annotate: the given ones, those that a stopped run of this stage left, or new ones."""
    file = run.folder / PAIRS_FILE
    if config.pairs or (run.resumed and file.exists() and config.annotator in (JUDGE, HUMAN)):
        pairs = read_pairs(config.pairs or file)
    else:
        pairs = _sample_pairs(run, config, rng)
    if run.is_main:
        write_pairs(file, pairs)
    return pairs


def _sample_pairs(run: StageRun, config: PreferencesConfig, rng: random.Random) -> list[ResponsePair]:
    """Draw prompts, sample both variants and pair their responses. Raises InputError when no pair is left."""
    newest, other = _variants(config)
    prompts = draw_prompts(str(config.prompts), config.num_prompts, config.seed)
    first, second = (
        sample_responses(
            variant,
            prompts,
            max_new_tokens=config.max_new_tokens,
            seed=config.seed + offset,
            batch_tokens=config.batch_tokens,
            dtype=config.dtype,
            engine=config.engine,
        )
        for variant, offset in ((newest, 0), (other, _SEED_OFFSET))
    )
    pairs, dropped = pair_responses(prompts, first, second, rng)
    if not pairs:
        raise InputError(f"no pair is left of {len(prompts)} prompts ({dropped}); raise the temperatures")
    run.count(prompts=len(prompts), **dropped)
    return pairs


def _variants(config: PreferencesConfig) -> tuple[Variant, Variant]:
    newest = Variant(str(config.model_name_or_path), tuple(config.temperature))
    other = Variant(config.previous_model or newest.model, tuple(config.previous_temperature))
    newest.check("temperature")
    other.check("previous_temperature")
    if newest.model == other.model and set(newest.temperatures) & set(other.temperatures):
        raise InputError(
            "previous_model: the same checkpoint at the same temperature; expected two variants (section 3.2.1)"
        )
    return newest, other
