"""`tau --help`, which loads every command and none of what they do, against the bare interpreter, taking turns."""

from __future__ import annotations

import statistics
import subprocess
import sys

from parts import ROOT
from parts.table import show, timed_us, verdict

AIM = 8
ROUNDS = 25
# As the console script does.
_TAU = (sys.executable, "-c", "from runner.cli import main; main()", "--help")
_BARE = (sys.executable, "-c", "pass")


def main() -> None:
    pairs = [(took_ms(_TAU), took_ms(_BARE)) for _ in range(ROUNDS + 1)][1:]  # the first one fills the caches
    ratio = statistics.median(ours / bare for ours, bare in pairs)
    ours, bare = (statistics.median(column) for column in zip(*pairs, strict=True))
    rows = [["tau --help", f"{ours:.0f} ms", f"{bare:.0f} ms", f"{ratio:.2f}", f"{AIM}", verdict(ratio, AIM)]]
    show(f"The first answer, {ROUNDS} rounds", ("what", "ours", "python -c pass", "ratio", "aim", ""), rows)


def took_ms(argv: tuple[str, ...]) -> float:
    return timed_us(lambda: subprocess.run(argv, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)) / 1000


if __name__ == "__main__":
    main()
