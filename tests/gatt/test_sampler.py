"""A chat model behind a dialogue: replies cut off, room in the context, engines that each process may use."""

from types import SimpleNamespace

import pytest

from chat_model.conversation import Message
from chat_model.errors import InputError
from gatt.sampler import ModelSampler


def test_replies_cut_off_are_counted_and_dropped_when_asked(model_folder):
    contexts = [[Message("user", "who are you?")]] * 40
    for keep in (True, False):
        sampler = ModelSampler.from_checkpoint(str(model_folder), max_new_tokens=5, keep_cut_off=keep, seed=3)
        texts = sampler(contexts)
        assert len(texts) == 40
        assert sampler.num_cut_off > 0
        assert keep or sum(text == "" for text in texts) >= sampler.num_cut_off


def test_fits_leaves_room_for_the_reply(model_folder):
    short = [Message("user", "who are you?")]
    assert ModelSampler.from_checkpoint(str(model_folder), max_new_tokens=650).fits(short)
    assert not ModelSampler.from_checkpoint(str(model_folder), max_new_tokens=695).fits(short)


def test_an_engine_that_wants_all_processes_at_once_is_refused_where_each_has_its_own(monkeypatch):
    monkeypatch.setattr("gatt.sampler.process_state", lambda: SimpleNamespace(num_processes=2))
    with pytest.raises(InputError, match="engine: vllm is given the weights by all processes together.*one process"):
        ModelSampler(None, None, across_processes=False, engine="vllm")
    ModelSampler(None, None, across_processes=True, engine="vllm")
