"""stats.csv: stats.jsonl as a table, for spreadsheets."""

import csv
import io
from pathlib import Path

from minigan.runs.run_folder import read_stats, write_whole


def write_csv(folder, records=None):
    """RUN/stats.csv, a line for each logged step (of `records`, or of stats.jsonl, of a long one
    those that `Statistics` keeps) and a column for each number that any of them has, those of
    evaluations last; empty where there is none."""
    rows = [record | record["evaluation"] if isinstance(record.get("evaluation"), dict) else record
            for record in (read_stats(folder) if records is None else records)]
    numbers = [{name: value for name, value in row.items() if isinstance(value, (int, float))}
               for row in rows]
    columns = dict.fromkeys(name for row in numbers for name in row)
    text = io.StringIO()
    writer = csv.DictWriter(text, ["step", *(name for name in columns if name != "step")],
                            restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(numbers)
    write_whole(Path(folder) / "stats.csv", text.getvalue().encode("utf-8", "replace"))
