"""Every test, in two processes at once: those that share an engine, and all others beside.

What the others print comes in one piece, at the end. The exit code says whether anything failed in either.
"""

import subprocess
import sys
import tempfile
import time

_PYTEST = (sys.executable, "-m", "pytest", "-q", "-m")


def main():
    began = time.monotonic()
    with tempfile.TemporaryFile() as said:
        others = subprocess.Popen((*_PYTEST, "not engine or apart"), stdout=said, stderr=subprocess.STDOUT)
        try:
            print("The tests that need the Docker engine; the others run beside and are told of below.", flush=True)
            engine = subprocess.run((*_PYTEST, "engine and not apart"), check=False).returncode
            print("The others:", flush=True)
            code = others.wait()
        finally:
            # Interrupted: nothing of it goes on.
            others.terminate()
            others.wait()
        said.seek(0)
        sys.stdout.buffer.write(said.read())
    print(f"All tests took {time.monotonic() - began:.0f} s.", flush=True)
    return engine or code


if __name__ == "__main__":
    sys.exit(main())
