"""``make profile``: where a microsecond goes: CPU per item and process while a job runs, and its hottest functions."""

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

import psutil

from benchmarks.tasks import no_op
from scaler_trio import Client, SchedulerClusterCombo

TOP = 12
SAMPLES_PER_SECOND = 100


def main() -> None:
    """Profile ``map`` or ``submit`` of no-ops for some seconds."""
    parser = argparse.ArgumentParser(prog="make profile", description=__doc__)
    parser.add_argument("what", nargs="?", choices=("map", "submit", "lone"), default="map")
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    with SchedulerClusterCombo(n_workers=2) as cluster, Client(cluster.get_address()) as client:
        client.map(no_op, range(10_000))
        own = psutil.Process()
        processes = [own, *own.children(recursive=True)]
        before = {process.pid: _cpu_s(process) for process in processes}
        recorders = [_record(process.pid, arguments.seconds) for process in processes]
        items = 0
        started = time.perf_counter()
        while time.perf_counter() - started < arguments.seconds:
            items += _some(client, arguments.what)
        elapsed = time.perf_counter() - started
        after = {process.pid: _cpu_s(process) for process in processes}
        print(f"{items:,} items in {elapsed:.2f} s: {items / elapsed:,.0f}/s")
        roles: defaultdict[str, float] = defaultdict(float)
        stacks: dict[str, Counter[str]] = {}
        for process, (recorder, output) in zip(processes, recorders, strict=True):
            role = _role(process, own)
            roles[role] += after[process.pid] - before[process.pid]
            if recorder is not None:
                recorder.wait()
                stacks.setdefault(role, Counter()).update(_leaves(output))
        print(f"CPU per item: {1e6 * sum(roles.values()) / items:.2f} µs")
        for role, cpu in sorted(roles.items(), key=lambda item: -item[1]):
            print(f"  {role:32} {1e6 * cpu / items:8.3f} µs")
        for role, leaves in stacks.items():
            total = sum(leaves.values())
            print(f"\n{role}: where its samples are")
            for leaf, count in leaves.most_common(TOP):
                print(f"  {100 * count / total:5.1f} %  {leaf}")


def _some(client: Client, what: str) -> int:
    if what == "map":
        return len(client.map(no_op, range(200_000)))
    if what == "submit":
        return sum(future.result() >= 0 for future in [client.submit(no_op, n) for n in range(5_000)])
    return sum(client.submit(no_op, n).result() >= 0 for n in range(200))


def _role(process: psutil.Process, own: psutil.Process) -> str:
    if process == own:
        return "client"
    command = process.cmdline()
    return command[0].split()[0] if command and command[0].startswith("scaler_") else process.name()


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _record(pid: int, seconds: float) -> tuple["subprocess.Popen[bytes] | None", Path]:
    """Sample a process's stacks, if this system lets us look."""
    output = Path(tempfile.mkdtemp()) / "stacks"
    sampler = Path(sys.executable).with_name("py-spy")
    if not sampler.exists():
        return None, output
    command = [str(sampler), "record", "--nonblocking", "--format", "raw", "--output", str(output)]
    command += ["--rate", str(SAMPLES_PER_SECOND), "--duration", str(int(seconds)), "--pid", str(pid)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL), output


def _leaves(output: Path) -> Counter[str]:
    leaves: Counter[str] = Counter()
    if output.exists():
        for line in output.read_text().splitlines():
            stack, _, count = line.rpartition(" ")
            leaves[stack.rpartition(";")[2]] += int(count)
    return leaves


if __name__ == "__main__":
    main()
