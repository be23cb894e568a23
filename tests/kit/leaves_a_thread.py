"""A preload after which its process must not fork."""

import threading

threading.Thread(target=threading.Event().wait, daemon=True, name="left behind").start()
