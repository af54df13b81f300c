"""The runner as it is, with each call to AWS and each checkout written down: `python -m parts.watched FILE runner …`.

Only what the outside cannot see is added: one line of JSON for each, {"what", "began", "took_s", "thread"}, and for
what a queue gave "messages".
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from botocore.client import BaseClient

from runner.cli import main
from runner.workspace import Workspace


def watch(owner: Any, method: str, what: Callable[..., str], out: TextIO) -> None:
    """Write down every call of a method."""
    function = getattr(owner, method)

    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        line, began = {"what": what(*args), "thread": threading.current_thread().name}, time.time()
        try:
            result = function(self, *args, **kwargs)
            if line["what"] == "ReceiveMessage":
                line |= {"messages": [message["Body"] for message in result.get("Messages", ())]}
            return result
        finally:
            out.write(json.dumps({**line, "began": began, "took_s": time.time() - began}) + "\n")

    setattr(owner, method, watched)


if __name__ == "__main__":
    lines = Path(sys.argv.pop(1)).open("w", buffering=1)  # noqa: SIM115 - open as long as the runner lives
    watch(BaseClient, "_make_api_call", lambda operation, *_: operation, lines)
    watch(Workspace, "checkout", lambda *_: "checkout", lines)
    main()
