"""Trio for every async test of this folder; time is virtual (`autojump_clock`) wherever it matters."""

from pytest_trio.enable_trio_mode import *  # noqa: F403
