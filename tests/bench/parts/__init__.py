"""What the benchmarks share. Imported before the project's own modules, it makes them importable from anywhere."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
