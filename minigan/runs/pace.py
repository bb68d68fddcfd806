"""How long it will take, said before an hour is spent."""

import time

EARLY = 4.0  # seconds, after which the first whole step is reason enough


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


def duration(seconds):
    """In words: 40 s, 5 min, 2.5 h, 3 days."""
    for unit, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.2g} {unit}"
    return f"{seconds:.0f} s"
