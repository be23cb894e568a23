"""Trio tests run in this folder."""

from pytest_trio.enable_trio_mode import *  # noqa: F403
