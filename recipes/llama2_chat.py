"""The whole recipe of Llama 2-Chat, one step after the other, in the order of the paper's Figure 4.

    base model → SFT → [ preferences → both reward models → rejection sampling → PPO → GAtt ] per round → evaluation

Each round has those of the stages that the recipe asks for; Ghost Attention may also follow the last one. Nothing runs
here: a step names a stage, the recipe's YAML file with its settings, and what it reads from earlier steps. The ledger
runs those that are not done.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from chat_model.errors import InputError
from recipes.recipe import Recipe, Round
from recipes.step import Step

SFT = "sft"
DOMAINS = ("helpfulness", "safety")
GATT_NAME = "GAtt"  # of the checkpoint after Ghost Attention, in the report


@dataclass
class Chain:
    """The steps so far, and what later ones build on."""

    recipe: Recipe
    steps: list[Step] = field(default_factory=list)
    checkpoints: dict[str, str] = field(default_factory=dict)  # name in the report -> folder, newest last
    preferences: dict[str, list[str]] = field(default_factory=dict)  # round -> its files
    pools: list[str] = field(default_factory=list)  # the best samples, one file a round
    reward_models: dict[str, str] = field(default_factory=dict)  # "helpfulness_reward_model" -> newest folder
    reward_models_by_round: dict[str, list[str]] = field(default_factory=dict)  # round -> folders, one a domain
    student: dict[str, str] = field(default_factory=dict)  # "student" -> a smaller model's newest folder, if any

    @property
    def newest(self) -> str:
        """The newest chat checkpoint."""
        return list(self.checkpoints.values())[-1]

    @property
    def all_preferences(self) -> list[str]:
        """The preference files of all rounds so far."""
        return [file for files in self.preferences.values() for file in files]

    def add(self, name: str, module: str, config: str | None, **arguments: Any) -> str:
        """Append a step and return the folder that it leaves."""
        step = self.recipe.step(name, module, config, **arguments)
        self.steps.append(step)
        return str(step.output)

    def has(self, config: str) -> bool:
        """Whether the recipe has this file: the quickstart makes its data and base model, others do not."""
        return self.recipe.has(config)

    def define(self, name: str, folder: str) -> None:
        """Let the recipe's YAML files say ``{name}`` for `folder`."""
        self.recipe = replace(self.recipe, variables={**self.recipe.variables, name: folder})


def llama2_chat(recipe: Recipe) -> list[Step]:
    """Return the steps of a recipe with ``chain: llama2_chat``. Raises InputError for rounds that cannot work."""
    chain = Chain(recipe)
    if chain.has("world.yaml"):
        chain.define("world", chain.add("world", "recipes.quickstart", "world.yaml"))
    if chain.has("base.yaml"):
        chain.define("base", chain.add("base", "sft", "base.yaml"))
    chain.checkpoints[SFT] = chain.add("sft", "sft", "sft.yaml")
    for round_ in recipe.rounds:
        add_round(chain, round_)
    if recipe.gatt:
        add_ghost_attention(chain, "gatt", GATT_NAME)
    evaluate(chain)
    return chain.steps


def add_round(chain: Chain, round_: Round) -> None:
    """Fresh preferences from the newest model, fresh reward models, best-of-K fine-tuning, PPO on top (section 3.2)."""
    policy = chain.newest
    chain.preferences[round_.name] = list(round_.preferences)
    if "preferences" in round_.stages:
        collect_preferences(chain, round_.name)
    if "reward_models" in round_.stages:
        train_reward_models(chain, round_.name)
    _check_order(chain, round_)
    if "rejection_sampling" in round_.stages:
        policy = sample_and_fine_tune(chain, round_.name, policy)
    if "ppo" in round_.stages:
        policy = optimize(chain, round_.name, policy)
    chain.checkpoints[round_.name] = policy
    if "gatt" in round_.stages:
        add_ghost_attention(chain, f"{round_.name}/gatt", f"{round_.name} + {GATT_NAME}")


def _check_order(chain: Chain, round_: Round) -> None:
    """Raise InputError where a stage of the round has nothing to work with."""
    if "reward_models" in round_.stages and not chain.all_preferences:
        raise InputError(f"round '{round_.name}': reward_models come before any preferences; add that stage to it")
    for stage in ("rejection_sampling", "ppo"):
        if stage in round_.stages and not chain.reward_models:
            raise InputError(f"round '{round_.name}': {stage} comes before any reward_models; add that stage to it")


def collect_preferences(chain: Chain, round_name: str) -> None:
    """Compare the newest model with the one before it; in the first round with itself at another temperature."""
    checkpoints = list(chain.checkpoints.values())
    folder = chain.add(
        f"{round_name}/preferences",
        "rlhf.preferences",
        "preferences.yaml",
        model_name_or_path=checkpoints[-1],
        previous_model=checkpoints[-2] if len(checkpoints) > 1 else None,
    )
    chain.preferences[round_name].append(f"{folder}/preferences.jsonl")


def train_reward_models(chain: Chain, round_name: str) -> None:
    """Both start from the newest chat model and learn from the preferences of all rounds so far (section 3.2.2).

    Each is held against that of the round before, on the held-out preferences of all rounds.
    """
    for domain in DOMAINS:
        kind = f"{domain}_reward_model"
        earlier = {"earlier_model": chain.reward_models[kind]} if kind in chain.reward_models else {}
        chain.reward_models[kind] = chain.add(
            f"{round_name}/{kind}",
            "reward_model",
            f"{kind}.yaml",
            model_name_or_path=chain.newest,
            preferences=chain.all_preferences,
            **earlier,
        )
    chain.reward_models_by_round[round_name] = list(chain.reward_models.values())


def sample_and_fine_tune(chain: Chain, round_name: str, policy: str) -> str:
    """K samples a prompt; the best of them and of all earlier rounds are fine-tuned on as in SFT (section 3.2.3)."""
    folder = chain.add(
        f"{round_name}/rejection_sampling",
        "rlhf.rejection_sampling",
        "rejection_sampling.yaml",
        model_name_or_path=policy,
        pool=list(chain.pools[-1:]),  # the newest pool holds what survived of all earlier ones
        round=round_name,
        **chain.reward_models,
    )
    chain.pools.append(f"{folder}/pool.jsonl")
    if chain.has("student_sft.yaml"):
        distil(chain, round_name, f"{folder}/conversations.jsonl")
    return chain.add(
        f"{round_name}/policy",
        "sft",
        "rejection_sampling_sft.yaml",
        model_name_or_path=policy,
        dataset_name=[f"{folder}/conversations.jsonl"],
    )


def optimize(chain: Chain, round_name: str, policy: str) -> str:
    """PPO on top of what was fine-tuned (section 3.2.3); on a shared base, on the adapter that the fine-tuning left.

    The base is then the newest model before this round, which the round's reward models are adapters of as well.
    """
    name, start = f"{round_name}/ppo", {"model_name_or_path": policy}
    layout = chain.recipe.step(name, "rlhf.ppo", "ppo.yaml").arguments.get("layout")
    if layout == "shared_base" and policy != chain.newest:
        start = {"model_name_or_path": chain.newest, "policy_adapter": policy}
    optimized = chain.add(name, "rlhf.ppo", "ppo.yaml", **start, **chain.reward_models)
    chain.add(  # what PPO itself gained
        f"{round_name}/ppo_gain",
        "rlhf.evaluate",
        "evaluation.yaml",
        checkpoints=[policy, optimized],
        names=["before PPO", "after PPO"],
        **chain.reward_models,
    )
    return optimized


def distil(chain: Chain, round_name: str, conversations: str) -> None:
    """A smaller model learns from the samples of the large one (section 3.2.3); its first checkpoint is the YAML's."""
    start = {"model_name_or_path": chain.student["student"]} if chain.student else {}
    name = f"{round_name}/student"
    chain.student["student"] = chain.add(name, "sft", "student_sft.yaml", dataset_name=[conversations], **start)


def add_ghost_attention(chain: Chain, prefix: str, checkpoint: str) -> None:
    """Dialogues by the newest model, the instruction on every turn; trained on with it in the first (section 3.3).

    Args:
        prefix: of the steps' names.
        checkpoint: name of the trained model in the report; later rounds go on from it, and may say ``{gatt}`` for the
            folder of its dialogues, to rehearse them.
    """
    newest = chain.newest
    dialogues = chain.add(f"{prefix}/dialogues", "gatt.synthesize", "gatt.yaml", model_name_or_path=newest)
    chain.checkpoints[checkpoint] = chain.add(
        f"{prefix}/policy",
        "sft",
        "gatt_sft.yaml",
        model_name_or_path=newest,
        dataset_name=[f"{dialogues}/conversations.jsonl"],
        rehearsal_dataset_name=rehearse_newest(chain, prefix),
    )
    chain.define("gatt", dialogues)
    for when, model in (("before", newest), ("after", chain.newest)):
        chain.add(f"{prefix}/adherence_{when}", "gatt.evaluate", "adherence.yaml", model_name_or_path=model)


def rehearse_newest(chain: Chain, prefix: str) -> list[str]:
    """Let the newest model answer ordinary prompts, so that Ghost Attention does not unlearn what the rounds taught."""
    if not (chain.has("gatt_rehearsal.yaml") and chain.reward_models):
        return []
    folder = chain.add(
        f"{prefix}/rehearsal",
        "rlhf.rejection_sampling",
        "gatt_rehearsal.yaml",
        model_name_or_path=chain.newest,
        round=GATT_NAME,
        **chain.reward_models,
    )
    return [f"{folder}/conversations.jsonl"]


def evaluate(chain: Chain) -> None:
    """Every checkpoint on the held-out prompts, against the SFT model (Figure 11), and what hangs on several rounds."""
    _evaluate_adherence(chain)
    _evaluate_reward_models(chain)
    chain.add(
        "evaluation",
        "rlhf.evaluate",
        "evaluation.yaml",
        checkpoints=[*chain.checkpoints.values(), *chain.student.values()],
        names=[*chain.checkpoints, *chain.student],
        **chain.reward_models,
    )
    _evaluate_safety(chain)


def _evaluate_safety(chain: Chain) -> None:
    """Every checkpoint on adversarial prompts by risk category and style, and on borderline ones (section 4)."""
    if chain.has("safety_evaluation.yaml"):
        chain.add(
            "safety_evaluation",
            "rlhf.safety_evaluation",
            "safety_evaluation.yaml",
            checkpoints=list(chain.checkpoints.values()),
            names=list(chain.checkpoints),
        )


def _evaluate_adherence(chain: Chain) -> None:
    """Where rounds came after Ghost Attention: is the first turn's instruction still followed in the end?"""
    trained = [name for name in chain.checkpoints if name.endswith(GATT_NAME)]
    if trained and trained[-1] != list(chain.checkpoints)[-1]:
        chain.add("adherence_at_the_end", "gatt.evaluate", "adherence.yaml", model_name_or_path=chain.newest)


def _evaluate_reward_models(chain: Chain) -> None:
    """Each round's reward models on the held-out preferences of every round (section 3.2.2)."""
    if len(chain.reward_models_by_round) < 2:
        return
    models = [(name, folder) for name, folders in chain.reward_models_by_round.items() for folder in folders]
    files = [(name, file) for name, each in chain.preferences.items() for file in each]
    chain.add(
        "reward_models_by_round",
        "reward_model.by_round",
        None,
        reward_models=[folder for _, folder in models],
        model_rounds=[name for name, _ in models],
        preferences=[file for _, file in files],
        preference_rounds=[name for name, _ in files],
    )
