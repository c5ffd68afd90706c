"""PPO with the reward of Llama 2-Chat (section 3.2.3): the loop, its steps numbered, under Accelerate.

1 prompts · 2 responses · 3 log-probs and values · 4 scores · 5 rewards · 6 advantages · 7 update · 8 metrics

Steps 1 to 4 collect, with models; 5 and 6 compute, without; 7 and 8 learn. `README.md` beside this file explains every
metric and gives the reason for every detail.
"""

from dataclasses import fields
from typing import TypeVar

from tqdm.auto import tqdm

from chat_model.stage import StageRun
from rlhf.ppo.checkpoint import remove_checkpoints, resume, save_checkpoint
from rlhf.ppo.collection import measure, respond, sampler_mismatch, score
from rlhf.ppo.config import PPOConfig
from rlhf.ppo.guards import check_kl, length_warning
from rlhf.ppo.held_out import forget_other_bests, judge, should_stop, take_best
from rlhf.ppo.kl_control import next_coefficient
from rlhf.ppo.metrics import Pace, PhaseTimer, rollout_metrics
from rlhf.ppo.models.interface import Scorers
from rlhf.ppo.models.loading import critic_start
from rlhf.ppo.rollout import Collected, RewardSettings, Rollout, draw_prompts, estimate
from rlhf.ppo.saved_rollouts import Known, load_rollout, rows_saved_on_fault, save_rollout
from rlhf.ppo.session import Session, open_session
from rlhf.ppo.state import TrainingState
from rlhf.ppo.tracking import finish_trackers
from rlhf.ppo.update import UpdateSettings, update

Metrics = dict[str, float]
Settings = TypeVar("Settings", RewardSettings, UpdateSettings)


def train(run: StageRun, config: PPOConfig, scorers: Scorers | None = None) -> None:
    """Train a policy and leave it, with its tokenizer and metrics, in `run.folder`.

    Args:
        run: the stage's output; a killed run's checkpoints in its folder are continued.
        config: see `PPOConfig`.
        scorers: rewards other than those of the two reward models that `config` names.

    Raises:
        InputError: a value of `config` that no run could honour, or no prompt that fits.
        TrainingFault: a premise of PPO broke (see `rlhf.ppo.guards`), or the disk is full.
    """
    session = open_session(run, config, scorers)
    state = resume(session.accelerator, run.folder, config)
    run.forget_after(state.iterations or -1, key="iteration")  # iteration 0 is the judgement of the start
    _say_at_start(session, state)
    last = _run_iterations(session, state)
    run.record(iterations=state.iterations, **last)
    _finish(session, state)


def _say_at_start(session: Session, state: TrainingState) -> None:
    config = session.config
    if not any(prompt.is_safety for prompt in session.prompts):
        session.say_once(state, "no prompt is tagged is_safety: the safety score counts only below safety_threshold")
    if trained_on := set(session.held_out) & set(session.prompts):
        session.say_once(state, f"{len(trained_on)} held-out prompts are trained on, too: they do not tell overfitting")
    is_full = config.layout == "full"
    if is_full and critic_start(config, session.models.tokenizer) != config.helpfulness_reward_model:
        session.say_once(state, "the helpfulness reward model has another tokenizer: the critic starts from the policy")


def _run_iterations(session: Session, state: TrainingState) -> Metrics:
    """Run what is left of the iterations; return the metrics of the last one."""
    config, metrics = session.config, Metrics()
    if session.held_out and not state.start_scores:
        session.log({"iteration": 0, **judge(session, state)})
    total, hidden, pace = config.num_iterations, not session.run.is_main, Pace(config.engine)
    with tqdm(desc="PPO", initial=state.iterations, total=total, disable=hidden) as progress:
        while state.iterations < total and not should_stop(state, config.patience):
            metrics = _iterate(session, state, pace)
            progress.set_postfix({name: f"{metrics[name]:.3g}" for name in ("reward", "kl_k1", "response_length")})
            progress.update()
            _save(session, state)
    return metrics


def _iterate(session: Session, state: TrainingState, pace: Pace) -> Metrics:
    """Run one iteration, write its line of `metrics.jsonl` and move `state` on."""
    timer = PhaseTimer()
    with rows_saved_on_fault(session, state.iterations) as known:
        collected = _collect(session, state.iterations, timer, known)
        rollout = _estimate(session, state, collected)
        metrics = _learn(session, state, rollout, timer)
    _move_on(session, state, metrics)
    if session.held_out and state.iterations % session.config.evaluate_every == 0:
        with timer.phase("evaluate"):
            metrics |= judge(session, state)
    seconds = pace.seconds(timer.seconds)
    session.log({"iteration": state.iterations, **metrics, **seconds})
    if idle := pace.idle(seconds):
        session.say_once(state, idle)
    return metrics


def _collect(session: Session, iteration: int, timer: PhaseTimer, known: Known) -> Collected:
    config = session.config
    if config.replay_rollouts:
        collected = load_rollout(session, iteration)
        known.responses, known.measurements = collected.responses, collected.measurements
        known.scores = (collected.helpfulness, collected.safety)
        return collected

    # 1  Prompts of the global batch, the same on every rank.
    prompts = draw_prompts(session.prompts, iteration, config.batch_size, config.seed)

    # 2  Responses, drawn from the whole distribution of the policy; a rank goes on with its own rows.
    with timer.phase("sample"):
        known.responses = responses = respond(session, prompts, draw=iteration + 1)

    # 3  Log-probabilities under policy and reference, and values, before any update.
    with timer.phase("log_probs"):
        known.measurements = measurements = measure(session, responses, iteration)

    # 4  Raw scores of both reward models, which read the text.
    with timer.phase("score"):
        known.scores = helpfulness, safety = score(session.models.scorers, responses, iteration)
    return Collected(responses, measurements, helpfulness, safety)


def _estimate(session: Session, state: TrainingState, collected: Collected) -> Rollout:
    # 5  R_c for each response, whitened over the global batch; less beta times the KL at each token.
    # 6  Advantages and returns.
    settings = _pick(RewardSettings, session.config, kl_coefficient=state.kl_coefficient)
    rollout = estimate(**vars(collected), settings=settings, reduce_sum=session.accelerator.reduce)
    if session.config.save_rollouts:
        save_rollout(session, rollout, state.iterations)
    return rollout


def _learn(session: Session, state: TrainingState, rollout: Rollout, timer: PhaseTimer) -> Metrics:
    config, accelerator, models, iteration = session.config, session.accelerator, session.models, state.iterations
    metrics = rollout_metrics(rollout, state.kl_coefficient, accelerator.reduce)
    check_kl(metrics["kl_k1"], config.max_kl, iteration)
    if config.sampler_check_rows:
        metrics["sampler_mismatch"] = sampler_mismatch(session, rollout.responses, rollout.measurements, iteration)

    # 7  Mini-batches, one gradient step each.
    critic_only = iteration < config.critic_warmup_iterations
    with timer.phase("update"):
        settings = _pick(UpdateSettings, config)
        updated = update(accelerator, models.trained, models.optimizer, rollout, settings, iteration, critic_only)

    # 8  Metrics of the whole batch.
    rate = 0.0 if critic_only else config.learning_rate
    return {**metrics, **updated, "kl_coefficient": state.kl_coefficient, "learning_rate": rate}


def _move_on(session: Session, state: TrainingState, metrics: Metrics) -> None:
    """Count the iteration, warn of lengths gone astray, and set beta for the next one."""
    config, length = session.config, metrics["response_length"]
    state.iterations += 1
    state.first_length = state.first_length or length
    if warning := length_warning(length, state.first_length, metrics["stopped"]):
        session.say_once(state, warning)
    if config.kl_target:
        responses = (metrics["kl_k1"], config.kl_target, config.batch_size, config.kl_horizon)
        state.kl_coefficient = next_coefficient(state.kl_coefficient, *responses)


def _save(session: Session, state: TrainingState) -> None:
    """Save a checkpoint where one is due and the run goes on."""
    config, done = session.config, state.iterations
    goes_on = done < config.num_iterations and not should_stop(state, config.patience)
    # Until the policy has moved it has no moments, and those of FSDP2 can only be read back if all are there.
    can_be_read = done > config.critic_warmup_iterations or not session.accelerator.is_fsdp2
    if config.save_every and done % config.save_every == 0 and goes_on and can_be_read:
        save_checkpoint(session.accelerator, session.run.folder, state, config)
        if session.accelerator.is_main_process:
            forget_other_bests(session.run.folder, state)


def _finish(session: Session, state: TrainingState) -> None:
    """Leave the best policy where one was judged, else the last one, and drop what only a resume needs."""
    run, accelerator = session.run, session.accelerator
    if state.best_iteration is None:
        session.save_policy(run.folder)
    else:
        take_best(session, state)
        run.record(best_iteration=state.best_iteration, best_held_out=state.best_value)
    run.record(notices=state.warned)
    remove_checkpoints(accelerator, run.folder)
    finish_trackers(accelerator)
    accelerator.free_memory()


def _pick(settings: type[Settings], config: PPOConfig, **replaced: float) -> Settings:
    """Return the part of `config` that `settings` names, with some fields `replaced`."""
    return settings(**{field.name: getattr(config, field.name) for field in fields(settings)} | replaced)
