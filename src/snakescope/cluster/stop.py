"""The end of a cluster job that was told to end: everything that it has started ends before it does."""

from __future__ import annotations

import os
import signal
import threading
import time

from snakescope.cluster import processes
from snakescope.cluster.task import AGAIN

# Seconds from being told to end until what has not ended is killed, and until we end whatever is left.
GRACE_S, LAST_S = 5.0, 12.0


class Stop:
    """Ends everything that this process has started, once, when a signal says so."""

    def __init__(self) -> None:
        self.asked = False
        self._ended = threading.Event()

    def listen(self) -> None:
        """Take the signals that ask for an end."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self)

    def __call__(self, *_: object) -> None:
        """End; what a signal calls."""
        if not self.asked:
            self.end_all()
            raise KeyboardInterrupt

    def end_all(self) -> None:
        """End all children, gently at first; whatever happens, this process is gone soon."""
        self.asked = True
        threading.Thread(target=self._end_all, daemon=True).start()

    def wait(self) -> None:
        """Wait until all that was started has ended, or been killed."""
        if self.asked:
            self._ended.wait(LAST_S)

    def _end_all(self) -> None:
        # not SIGINT, which what was started in the background of a shell ignores; what a job's shell starts when it has
        # been told is its tidying up, but what is there after a while has not heard
        me, told, begun, again = os.getpid(), set[int](), time.monotonic(), False
        while (left := set(processes.children(me))) and (passed := time.monotonic() - begun) < GRACE_S:
            for child in left - told:
                processes.end([child, *processes.descendants(child)], signal.SIGTERM)
            told |= left
            if passed > GRACE_S / 3 and not again:
                again = True
                processes.end(set(processes.descendants(me)) - left, signal.SIGTERM)
            time.sleep(0.1)
        processes.end(processes.descendants(me), signal.SIGKILL)
        self._ended.set()
        time.sleep(LAST_S - GRACE_S)
        os._exit(AGAIN)
