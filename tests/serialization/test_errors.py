"""Exceptions on their way back: as themselves if that works, never as nothing."""

from __future__ import annotations

import pickle

import pytest

from scaler_protocol.limits import INLINE_PAYLOAD_BYTES
from scaler_trio.serialization import CannotUnpickle, RemoteError, RemoteTraceback, dump_error, load_error
from tests.serialization.store import HoldsALock, Impostor, TwoArguments, Unprintable


def raised(error: BaseException) -> BaseException:
    """The exception with a traceback."""
    try:
        raise error
    except BaseException as caught:
        return caught


def test_an_exception_comes_back_with_its_remote_traceback_as_cause() -> None:
    error = load_error(dump_error(raised(KeyError("missing"))))
    assert type(error) is KeyError
    assert error.args == ("missing",)
    assert isinstance(error.__cause__, RemoteTraceback)
    assert "in raised" in str(error.__cause__)
    assert "KeyError: 'missing'" in error.__cause__.text


def test_a_given_traceback_is_taken_as_it_is() -> None:
    error = load_error(dump_error(ValueError("x"), traceback_text="from afar"))
    assert str(error.__cause__) == '\n"""\nfrom afar"""'


def test_notes_and_attributes_survive() -> None:
    error = ValueError("x")
    error.add_note("look here")
    loaded = load_error(dump_error(error))
    assert loaded.__notes__ == ["look here"]


def test_exceptions_that_are_no_ordinary_ones_come_back_too() -> None:
    assert type(load_error(dump_error(SystemExit(3)))) is SystemExit
    group = load_error(dump_error(ExceptionGroup("several", [ValueError(1), KeyError(2)])))
    assert isinstance(group, ExceptionGroup)
    assert [type(e) for e in group.exceptions] == [ValueError, KeyError]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (TwoArguments("a", "b"), "TwoArguments: a and b (the exception itself cannot be pickled: TypeError"),
        (HoldsALock("held"), "HoldsALock: held (the exception itself cannot be pickled"),
        (Impostor("x"), "Impostor: x (the exception itself cannot be pickled: TypeError: it loads as str"),
        (ValueError("x" * 100_000), "xxx (the exception itself cannot be pickled: ValueError: its pickle has 20"),
    ],
)
def test_what_cannot_travel_becomes_a_remote_error_with_its_type_text_and_traceback(
    error: Exception, text: str
) -> None:
    payload = dump_error(raised(error))
    assert len(payload) <= INLINE_PAYLOAD_BYTES
    loaded = load_error(payload)
    assert type(loaded) is RemoteError
    assert text in str(loaded)
    assert loaded.type_name.endswith(type(error).__name__)
    assert "in raised" in loaded.traceback_text or len(str(error)) > 10_000
    assert isinstance(loaded.__cause__, RemoteTraceback)


def test_an_exception_whose_text_cannot_be_made_is_named_by_its_type() -> None:
    loaded = load_error(dump_error(raised(Unprintable())))
    assert type(loaded).__name__ in ("Unprintable", "RemoteError")
    assert isinstance(loaded.__cause__, RemoteTraceback)


def test_a_remote_error_pickles_again() -> None:
    error = RemoteError("text", "a.B", "trace")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.type_name, again.traceback_text) == ("text", "a.B", "trace")


def test_an_error_that_this_process_cannot_load_says_so() -> None:
    payload = dump_error(TwoArguments("a", "b"), traceback_text="").replace(b"RemoteError", b"RemoteErroX")
    loaded = load_error(payload)
    assert type(loaded) is CannotUnpickle
    assert "its exception cannot be unpickled here: AttributeError" in str(loaded)
    assert type(load_error(b"rubbish")) is CannotUnpickle
    assert type(load_error(pickle.dumps(("no exception", "text")))) is CannotUnpickle
