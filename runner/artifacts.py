"""The files of a container that ci.yml asks for in; what is asked of the engine, and what a browser may show, out.

Pure. `taking.py` brings them to the bucket, `retrieving.py` from there.
"""

from __future__ import annotations

import codecs
import posixpath
from collections.abc import Iterable
from dataclasses import dataclass

from chalicelib.globs import is_literal
from runner.junit import folder_of

MOST_FILES = 100
"""More pictures nobody looks through; a report of more files is packed by whoever writes it. Each costs a request."""
MOST_FILE_BYTES = 50 * 1000**2
"""Some minutes of a browser on film; a core dump is none."""
MOST_BYTES = 200 * 1000**2
"""So much is brought to the bucket in less than a minute, and a thousand runs cost a few dollars a month."""
MOST_READ_BYTES = 2 * 1000**3
"""The engine packs whole folders: so much is looked at, and no more. A file with holes counts as long as it says."""
MOST_NAME = 300
HEAD_BYTES = 4096

# A browser shows these, whatever else their bytes may mean, and saves everything else.
# https://mimesniff.spec.whatwg.org/#matching-an-image-type-pattern
_PICTURES = (
    (b"\x89PNG\r\n\x1a\n", 0, "image/png"),
    (b"\xff\xd8\xff", 0, "image/jpeg"),
    (b"GIF87a", 0, "image/gif"),
    (b"GIF89a", 0, "image/gif"),
    (b"WEBPVP", 8, "image/webp"),
)
_PLAIN, _BYTES = "text/plain; charset=utf-8", "application/octet-stream"


@dataclass(frozen=True)
class Wanted:
    """A glob of ci.yml.

    Args:
        said: as it stands there.
        whole: with the folder in which the command started.
        base: what its files' names are told from: that folder, or nothing where the glob begins at the root.
    """

    said: str
    whole: str
    base: str

    @property
    def is_file(self) -> bool:
        """Whether it names a single file."""
        return is_literal(self.whole)

    @property
    def root(self) -> str:
        """What is asked of the engine: the very file, or the deepest folder that is sure."""
        return self.whole if self.is_file else folder_of(self.whole)

    def name(self, path: str) -> str:
        return path[len(self.base) :]


def wanted(globs: Iterable[str], folder: str) -> tuple[Wanted, ...]:
    """The globs of ci.yml for a container whose command starts in `folder`."""
    base = below(posixpath.normpath(folder))
    return tuple(
        Wanted(glob, posixpath.normpath(posixpath.join(base, glob)), "" if glob.startswith("/") else base)
        for glob in globs
    )


def roots(globs: Iterable[Wanted]) -> tuple[str, ...]:
    """The folders that are asked of the engine, each once: none that lies in another one."""
    named = tuple(dict.fromkeys(one.root for one in globs if not one.is_file))
    return tuple(root for root in named if not any(root != other and root.startswith(below(other)) for other in named))


def files(globs: Iterable[Wanted]) -> tuple[str, ...]:
    """The files that are asked of it by themselves, each once: none is lost for what lies beside it."""
    return tuple(dict.fromkeys(one.whole for one in globs if one.is_file))


def below(folder: str) -> str:
    """How every path in a folder begins."""
    return folder if folder.endswith("/") else f"{folder}/"


def content_type(head: bytes) -> str:
    """What a browser may take a file for, by its first bytes and never by its name: it runs nothing of it.

    Args:
        head: HEAD_BYTES of it, or all of a shorter one.
    """
    for begins, at, kind in _PICTURES:
        if head.startswith(begins, at) and (at == 0 or head.startswith(b"RIFF")):
            return kind
    try:
        # What was read may end in the middle of a character.
        text = codecs.getincrementaldecoder("utf-8")().decode(head, final=len(head) < HEAD_BYTES)
    except UnicodeDecodeError:
        return _BYTES
    return _BYTES if "\0" in text else _PLAIN
