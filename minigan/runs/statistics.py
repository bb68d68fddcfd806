"""stats.jsonl, one JSON object a logged step: read line by line, for it may be long."""

import json
from pathlib import Path

from minigan.data import disk

MOST = 20_000     # records in memory; of more, those that a curve shows
LINE = 1 << 20    # bytes; a longer line is no record


class Statistics:
    """The records of a run's stats.jsonl, oldest first.

    `read` takes in what was appended since it was last called. Of more than MOST records those stay
    that hold an evaluation, or the least or greatest value of a stretch; and the last.
    """

    def __init__(self, folder):
        self.records, self._path, self._position = [], Path(folder, "stats.jsonl"), 0

    def read(self):
        try:
            with disk.regular(self._path) as file:
                if file.seek(0, 2) < self._position:  # it was written anew
                    self.records, self._position = [], 0
                file.seek(self._position)
                for line in _lines(file):
                    if line.endswith(b"\n"):  # what is not ended is read again next time
                        self._position = file.tell()
                        self._take(line)
                    elif (record := parsed(line)) is not None:
                        return [*self.records, record]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return list(self.records)

    def _take(self, line):
        if (record := parsed(line)) is not None:
            self.records.append(record)
            if len(self.records) > MOST:
                self.records = thinned(self.records)


def _lines(file):
    """The lines of a binary file; of one that is longer than LINE, nothing."""
    while line := file.readline(LINE):
        if len(line) == LINE and not line.endswith(b"\n"):
            while (rest := file.readline(LINE)) and not rest.endswith(b"\n"):
                pass
            line = b"\n"
        yield line


def parsed(line):
    """The record in a line, or None if it is torn or damaged."""
    try:
        record = json.loads(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("step"), int) else None


def read_stats(folder):
    """The records of stats.jsonl, oldest first, at most MOST; a line that is torn or damaged is
    left out."""
    return Statistics(folder).read()


def records_of(folder, step):
    """Those of one step, which `read_stats` may leave out of a long log."""
    try:
        with disk.regular(Path(folder, "stats.jsonl")) as file:
            found = [parsed(line) for line in _lines(file) if str(step).encode() in line]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [record for record in found if record is not None and record["step"] == step]


def last_record(folder):
    """The last record of stats.jsonl, or None."""
    return (read_stats(folder) or [None])[-1]


def forget_after(folder, step):
    """Leave the records up to `step`, and no torn line."""
    path = Path(folder, "stats.jsonl")
    with disk.whole(path) as file:
        try:
            before = disk.regular(path)
        except FileNotFoundError:
            return
        with before:
            for line in _lines(before):
                record = parsed(line)
                if record is not None and record["step"] <= step:
                    file.write(json.dumps(record).encode() + b"\n")


def thinned(records):
    """About a quarter of the records, or half if nearly all hold an evaluation."""
    if sum("evaluation" in record for record in records) > len(records) // 4:
        return records[:-1:2] + records[-1:]
    names = {name for record in records for name, value in record.items()
             if isinstance(value, float)}
    names = sorted(names)[:16]
    kept, length = {len(records) - 1}, 8 * max(1, len(names))
    kept |= {i for i, record in enumerate(records) if "evaluation" in record}
    for begin in range(0, len(records), length):
        stretch = range(begin, min(begin + length, len(records)))
        for name in names:
            found = [(records[i][name], i) for i in stretch
                     if isinstance(records[i].get(name), float)]
            kept |= {min(found)[1], max(found)[1]} if found else set()
        if not names:
            kept.add(begin)
    return [records[i] for i in sorted(kept)]
