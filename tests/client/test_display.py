"""What `repr` and notebooks show of a client and of what it gives."""

from __future__ import annotations

import threading
from html.parser import HTMLParser

import pytest

from scaler_trio import ObjectReference
from scaler_trio.client import Client
from scaler_trio.config.display import amount, duration, table
from tests.client.fake_scheduler import TOKEN, FakeScheduler
from tests.kit.waiting import wait_until


class _Cells(HTMLParser):
    """The texts of a table, and whether every tag is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)
        self.tags.add(tag)
        self.texts.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts[-1] += data


def shown(thing: object) -> dict[str, str]:
    """The rows that a notebook shows of `thing`; "" is its title."""
    cells = _Cells(thing._repr_html_())  # type: ignore[attr-defined]
    assert cells.tags <= {"div", "b", "table", "tr", "th", "td"}
    texts = [text for text in cells.texts if text]
    return {"": texts[0], **dict(zip(texts[1::2], texts[2::2], strict=True))}


def fail(text: str) -> None:
    raise ValueError(text)


def test_everything_is_escaped_and_what_is_unknown_is_left_out() -> None:
    html = table("<T>", {"<a>": "<script>alert('&')</script>", "none": None, "empty": "", "zero": 0, "long": "x" * 900})
    assert "<script" not in html
    assert "<T>" not in html
    cells = _Cells(html)
    texts = [text for text in cells.texts if text]
    assert texts[:5] == ["<T>", "<a>", "<script>alert('&')</script>", "zero", "0"]
    assert texts[5] == "long"
    assert len(texts[6]) == 500
    assert texts[6].endswith("x …")


def test_amounts_and_durations_are_for_people() -> None:
    assert [amount(n) for n in (0, 1023, 1536, 5 << 20, 3 << 30)] == [
        *("0 bytes", "1023 bytes", "1.5 KiB", "5.0 MiB", "3.0 GiB")
    ]
    assert [duration(s) for s in (0.0123, 0.5, 1.5, 100)] == ["12.3 ms", "500 ms", "1.5 s", "100 s"]


def test_a_future_shows_its_state_and_function(client: Client) -> None:
    future = client.submit(abs, -1)
    assert future.result() == 1
    assert repr(future) == f"<ScalerFuture of task {future.task_id}, abs: finished>"
    assert {"": "ScalerFuture", "function": "abs", "task": str(future.task_id), "state": "finished"}.items() <= (
        shown(future).items()
    )


def test_a_failed_future_shows_its_error_once_that_was_asked_for(client: Client) -> None:
    future = client.submit(fail, "<b>&")
    wait_until(future.done, "the task to end")
    assert repr(future).endswith("fail: failed>")
    assert "error" not in shown(future)
    assert isinstance(future.exception(), ValueError)
    assert shown(future)["error"] == "ValueError: <b>&"


def test_a_result_that_does_not_load_is_a_failure(client: Client) -> None:
    future = client.submit(abs, -1)
    future.result()
    future._loaded = None, ValueError("as of a result that does not load")
    assert repr(future).endswith("failed>")


def test_a_pending_future_shows_where_it_waits_and_asks_nobody(scheduler: FakeScheduler, client: Client) -> None:
    client.submit(abs, 1).result()
    scheduler.paused = True
    future = client.submit(abs, -1)
    try:
        wait_until(lambda: client._session._core.is_sent(future.task_id), "the task to be sent")
        said = len(scheduler.kinds())
        assert repr(future).endswith("abs: pending>")
        assert shown(future)["state"] == "pending"
        assert "with the scheduler" in shown(future)["where"]
        assert len(scheduler.kinds()) == said
        assert future.cancel()
        assert repr(future).endswith("abs: cancelled>")
        assert "where" not in shown(future)
    finally:
        scheduler.resume()


def test_a_future_of_a_graph_has_the_name_of_its_node(client: Client) -> None:
    futures = client.get({"<one>": (abs, -1), "two": 2}, ["<one>", "two"], block=False)
    assert futures["<one>"].result() == 1
    assert shown(futures["<one>"])["function"] == "<one>"
    assert "two: finished" in repr(futures["two"])


def test_to_look_at_a_future_takes_no_lock(client: Client) -> None:
    future = client.submit(abs, -1)
    future.result()
    future._state = "PENDING"
    texts: list[str] = []
    with client._session._lock:
        thread = threading.Thread(target=lambda: texts.append(future._repr_html_() + repr(future)))
        thread.start()
        thread.join(5)
    assert texts
    future._state = "FINISHED"


def test_a_client_shows_its_address_its_options_and_what_is_unfinished(scheduler: FakeScheduler) -> None:
    with Client(scheduler.address, token=TOKEN) as client:
        assert shown(client) == {
            "": "Client", "scheduler": scheduler.address, "state": "connected", "unfinished": "0",
        }  # fmt: skip
        other = client.options(priority=3, name="<me>", timeout=2, retry_on=ValueError, max_retries=1)
        assert shown(other)["options"] == "max_retries=1, name='<me>', priority=3, retry_on=…, timeout=2.0"
        client.submit(abs, 1).result()
        scheduler.paused = True
        futures = [client.submit(abs, n) for n in range(3)]
        wait_until(lambda: shown(client)["unfinished"] == "3", "three to be unfinished")
        scheduler.resume()
        assert [future.result() for future in futures] == [0, 1, 2]
    assert repr(client) == f"<Client of {scheduler.address}, closed>"
    assert shown(client)["state"] == "closed"
    assert "unfinished" not in shown(client)
    assert TOKEN.decode() not in client._repr_html_()


@pytest.mark.parametrize("name", [None, "<weights>"])
def test_a_reference_shows_its_size_and_name(name: str | None) -> None:
    reference: ObjectReference[bytes] = ObjectReference(b"\x01\xab", 3 << 20, name)
    assert repr(reference) == f"<ObjectReference{' ' + repr(name) if name else ''} to 3.0 MiB, 01ab>"
    rows = {"": "ObjectReference", "name": name, "size": "3.0 MiB", "object": "01ab"}
    assert shown(reference) == {key: value for key, value in rows.items() if value}
