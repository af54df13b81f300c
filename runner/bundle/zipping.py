"""Files of a tree in; a zip file whose bytes depend on nothing else out."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable
from hashlib import sha256

# The oldest time that a zip can hold.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_UNIX = 3


class TooLarge(Exception):
    """The zip file has more bytes than it may have."""


def packed(files: Iterable[tuple[str, int, bytes]], most_bytes: int) -> tuple[bytes, str]:
    """A zip file, and the sha256 of names, modes and bytes, whatever packs them.

    Args:
        files: name, mode and bytes of each, in the order in which they are to stand.

    Raises:
        TooLarge: it has more than `most_bytes`.
    """
    body, content = io.BytesIO(), sha256()
    with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED, allowZip64=False) as archive:
        for name, mode, data in files:
            encoded = name.encode()
            content.update(f"{len(encoded)} {mode} {len(data)} ".encode() + encoded)
            content.update(data)
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = _UNIX  # the upper half of external_attr is a mode, and links are links
            info.external_attr = mode << 16
            archive.writestr(info, data)
            if body.tell() > most_bytes:
                raise TooLarge
    if body.tell() > most_bytes:
        raise TooLarge
    return body.getvalue(), content.hexdigest()
