"""`RayStyle`: Ray's calls for tasks and objects."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from scaler_trio import Client, SchedulerClusterCombo
from scaler_trio.integrations.ray_style import RayStyle
from tests.kit.waiting import wait_until


@pytest.fixture
def ray(client: Client) -> RayStyle:
    return RayStyle(client)


def add(*values: Any) -> Any:
    return sum(values)


def fail(value: Any) -> Any:
    raise ArithmeticError(value)


def test_calls_and_their_values(ray: RayStyle) -> None:
    remote_add = ray.remote(add)
    assert ray.get(remote_add.remote(1, 2)) == 3
    assert ray.get([remote_add.remote(n, 1) for n in range(3)]) == [1, 2, 3]
    assert remote_add.__name__ == "add"
    with pytest.raises(TypeError, match=r"call add\.remote"):
        remote_add(1, 2)


def test_stored_values(ray: RayStyle) -> None:
    stored = ray.put([1, 2, 3])
    assert ray.get(stored) == [1, 2, 3]
    assert ray.get(ray.remote(sum).remote(stored)) == 6
    assert ray.get([stored, ray.remote(add).remote(1)]) == [[1, 2, 3], 1]


def test_calls_that_take_the_results_of_others(ray: RayStyle) -> None:
    remote_add = ray.remote(add)
    one = remote_add.remote(1)
    assert ray.get(remote_add.remote(one, one, remote_add.remote(remote_add.remote(3), 4))) == 9
    done = remote_add.remote(5)
    ray.get(done)
    assert ray.get(remote_add.remote(done, 1)) == 6


def test_a_failure_reaches_who_takes_the_result(ray: RayStyle) -> None:
    failed = ray.remote(fail).remote("no")
    with pytest.raises(ArithmeticError, match="no"):
        ray.get(failed)
    with pytest.raises(ArithmeticError, match="no"):
        ray.get(ray.remote(add).remote(failed, 1))


def test_waiting(ray: RayStyle) -> None:
    slow, quick = ray.remote(time.sleep).remote(60), ray.remote(add).remote(1)
    assert ray.wait([slow, quick], timeout=20) == ([quick], [slow])
    assert ray.wait([slow], timeout=0.05) == ([], [slow])
    assert ray.wait([ray.put(1), slow], num_returns=1)[1] == [slow]
    with pytest.raises(TimeoutError):
        ray.get(slow, timeout=0.05)
    with pytest.raises(TimeoutError, match="not all of 2 calls"):
        ray.get([slow, quick], timeout=0.05)
    with pytest.raises(ValueError, match="num_returns is 3"):
        ray.wait([slow, quick], num_returns=3)
    ray.cancel(slow)
    assert slow.cancelled()


def flaky(marks: str) -> int:
    with Path(marks).open("a") as file:
        file.write("x")
    tries = len(Path(marks).read_text())
    if tries < 3:
        raise OSError(f"try {tries}")
    return tries


def test_settings(ray: RayStyle, tmp_path: Path) -> None:
    remote = ray.remote(max_retries=5, retry_exceptions=[OSError], num_cpus=1, name="a")(flaky)
    assert ray.get(remote.remote(str(tmp_path / "marks"))) == 3
    gpu = ray.remote(num_gpus=1)(add).remote(1)
    with pytest.raises(Exception, match="no worker offers gpu=1"):
        ray.get(gpu, timeout=20)
    with pytest.raises(TypeError, match="scheduling_strategy: not a setting here"):
        ray.remote(add).options(scheduling_strategy="SPREAD")
    with pytest.raises(TypeError, match="no actors"):
        ray.remote(Path)


def chain_within(count: int) -> Any:
    with Client() as client:
        ray = RayStyle(client)
        remote_add = ray.remote(add)
        ones = [remote_add.remote(1) for _ in range(count)]
        first, _ = ray.wait([remote_add.remote(*ones)])
        return ray.get(remote_add.remote(first[0], 1)) + remote_add.remote(ones[0], remote_add.remote(1)).result()


def test_a_task_that_waits_for_a_chain_gives_up_its_slot() -> None:
    with SchedulerClusterCombo(n_workers=1) as combo, Client(combo.get_address()) as client:
        assert client.submit(chain_within, 10).result(timeout=30) == 13


def test_chains_whose_inputs_end_in_several_threads(ray: RayStyle) -> None:
    remote_add = ray.remote(add)
    chains = [remote_add.remote(*[remote_add.remote(n, k) for n in range(4)]) for k in range(200)]
    assert ray.get(chains, timeout=30) == [6 + 4 * k for k in range(200)]


def test_a_cancelled_chain_ends_its_running_call(ray: RayStyle, tmp_path: Path) -> None:
    began = tmp_path / "began"
    chain = ray.remote(begin_and_sleep).remote(ray.remote(text_of).remote(began))
    wait_until(began.exists, "the call did not begin")
    ray.cancel(chain)
    assert ray.wait([chain], timeout=10)[0] == [chain]
    assert chain.cancelled()
    assert [ray.get(ray.remote(add).remote(n), timeout=10) for n in range(4)] == [0, 1, 2, 3]


def text_of(path: Path) -> str:
    return str(path)


def begin_and_sleep(path: str) -> None:
    Path(path).touch()
    time.sleep(60)


def test_the_time_of_wait_is_that_of_all(ray: RayStyle) -> None:
    sleeps = [ray.remote(time.sleep).remote(0.3 * n) for n in range(1, 11)]
    started = time.monotonic()
    ready, others = ray.wait(sleeps, num_returns=10, timeout=1)
    took_s = time.monotonic() - started
    for sleep in sleeps:
        ray.cancel(sleep)
    assert len(ready) + len(others) == 10
    assert others
    assert took_s < 2.5  # with a second for each it takes at least as long as all the sleeps, 8 s on two workers
