"""A preload that takes its time, as a machine in a cloud does."""

import time

time.sleep(3.0)
