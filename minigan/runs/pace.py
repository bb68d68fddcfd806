"""How long it will take, said before an hour is spent."""

import contextlib
import threading
import time

EARLY = 4.0  # seconds, after which the first whole step is reason enough
LATE = 6.0  # seconds, after which a first step that is not done yet is told of


class Pace:
    """Says once how long a step takes and all of them: when EARLY seconds have gone by, unless the
    log has said it by then."""

    def __init__(self, step, steps, clock=time.perf_counter):
        self.first, self.steps, self.clock = step, steps, clock
        self.began, self.known = clock(), False

    def after(self, step, logged):
        """The line, or None: after this step, which the log tells of or not."""
        took = self.clock() - self.began
        self.known, before = self.known or logged or took >= EARLY, self.known
        if before or logged or not self.known:
            return None
        each = took / (step - self.first)
        return (f"a step takes about {each:.2g} s: the {self.steps - step} to come take "
                f"{duration(each * (self.steps - step))}")


class FirstStep:
    """A context around the next step, in which a thread of its own speaks up if that is not done
    after LATE seconds. `progress()` counts batches; a step takes `batches` of them."""

    def __init__(self, say, step, steps, batches, progress):
        self.say, self.step, self.left = say, step, steps - step + 1
        self.batches, self.progress, self.before, self.error = batches, progress, progress(), None
        self.began, self.timer = time.perf_counter(), threading.Timer(LATE, self._speak)
        self.timer.daemon = True

    def __enter__(self):
        with contextlib.suppress(RuntimeError):  # a machine without another thread: in silence
            self.timer.start()
        return self

    def __exit__(self, *exception):
        self.timer.cancel()
        if self.timer.is_alive():
            self.timer.join()

    def done(self):
        """The step is done. Raises what kept the thread from speaking."""
        self.__exit__()
        if self.error:
            raise self.error

    def _speak(self):
        took, done = time.perf_counter() - self.began, self.progress() - self.before
        line = f"step {self.step} is still at work after {took:.0f} s"
        if done > 1:
            each = took * self.batches / done
            line += (f", with {done} of its {self.batches} batches: a step takes about "
                     f"{duration(each)}, all {self.left} take {duration(each * self.left)}")
        try:
            self.say(line)
        except OSError as error:
            self.error = error


def duration(seconds):
    """In words: 40 s, 5 min, 2.5 h, 3 days."""
    for unit, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.2g} {unit}"
    return f"{seconds:.0f} s"
