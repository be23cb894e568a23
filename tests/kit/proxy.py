"""A TCP proxy between two peers of a cluster: it cuts, half-closes, delays and chops what passes through it.

On threads of its own, so that what it does does not depend on the loops of those whom it sits between.
"""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections.abc import Iterator

from scaler_trio.net import Address

PIECE_BYTES = 64 * 1024


class Proxy:
    """Listens on the loopback address and passes everything on to `target`. Ownership: `close`, or a `with` block."""

    def __init__(self, target: str) -> None:
        self._target = Address.parse(target)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._open: dict[tuple[socket.socket, socket.socket], None] = {}
        self._threads: list[threading.Thread] = []
        self.delay_s = 0.0
        self.chop_bytes = PIECE_BYTES  # pass on at most so much at once
        self.slam = 0  # end so many of the next connections as soon as the one who dialled has spoken
        self.accepted = 0
        self._start(self._accept)

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"

    def cut(self) -> int:
        """End every connection at once, with whatever was on its way; how many there were."""
        return self._each(_reset)

    def half_close(self) -> int:
        """Say to both ends of every connection that the other will send no more, and go on passing what they send."""
        return self._each(_shut_down_writing)

    def close(self) -> None:
        """Stop listening, end everything, and wait for the threads."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(5)

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _each(self, do: object) -> int:
        with self._lock:
            pairs = list(self._open)
        for pair in pairs:
            for sock in pair:
                with contextlib.suppress(OSError):
                    do(sock)  # type: ignore[operator]
        return len(pairs)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection((self._target.host, self._target.port))
            except OSError:
                return  # closed, or the target is gone
            if self.slam:
                self.slam -= 1
                near.recv(PIECE_BYTES)
                near.close()
                far.close()
                continue
            for sock in (near, far):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pair = (near, far)
            with self._lock:
                self._open[pair] = None
                self.accepted += 1
            ended = threading.Semaphore(0)
            self._start(self._pump, near, far, ended)
            self._start(self._pump, far, near, ended)
            self._start(self._bury, pair, ended)

    def _pump(self, source: socket.socket, sink: socket.socket, ended: threading.Semaphore) -> None:
        try:
            while data := source.recv(self.chop_bytes):
                if self.delay_s:
                    time.sleep(self.delay_s)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            for sock in (source, sink):
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        finally:
            ended.release()

    def _bury(self, pair: tuple[socket.socket, socket.socket], ended: threading.Semaphore) -> None:
        for _ in pair:
            ended.acquire()
        with self._lock:
            del self._open[pair]
        for sock in pair:
            sock.close()

    def _start(self, run: object, *arguments: object) -> None:
        thread = threading.Thread(target=run, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()


@contextlib.contextmanager
def troubled(proxy: Proxy, *, every_s: tuple[float, float], seed: int) -> Iterator[list[str]]:
    """Cuts, half-closes, delays and chops at random moments while the block lasts; the list says what was done."""
    chance = random.Random(seed)
    stopping = threading.Event()
    done: list[str] = []

    def trouble() -> None:
        while not stopping.wait(chance.uniform(*every_s)):
            what = chance.choice(["cut", "cut", "half close", "delay", "chop"])
            proxy.delay_s = 0.005 if what == "delay" else 0.0
            proxy.chop_bytes = 100 if what == "chop" else PIECE_BYTES
            if what == "cut":
                done.append(f"cut {proxy.cut()}")
            elif what == "half close":
                done.append(f"half-closed {proxy.half_close()}")
            else:
                done.append(what)

    thread = threading.Thread(target=trouble, daemon=True)
    thread.start()
    try:
        yield done
    finally:
        stopping.set()
        thread.join()
        proxy.delay_s, proxy.chop_bytes = 0.0, PIECE_BYTES


def _reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")  # close sends a reset
    sock.shutdown(socket.SHUT_RDWR)


def _shut_down_writing(sock: socket.socket) -> None:
    sock.shutdown(socket.SHUT_WR)
