"""The kinds of values that ci.yml knows, as types for pydantic.

An action's Settings are built twice from the same class: by the compiler from ci.yml's text, and at run time from the
compiled form, every placeholder filled in. The compiler passes a `Compiling` as validation context and serialisation
context; without one, texts are taken as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Annotated, TypeAlias

from annotated_types import MinLen
from pydantic import (
    AfterValidator,
    BeforeValidator,
    GetCoreSchemaHandler,
    SerializationInfo,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from chalicelib.errors import CannotFit
from chalicelib.fit import CHOSEN_BY_PUSHER, Sink, fill, placeholders
from chalicelib.globs import has_control
from chalicelib.model import Json

# A longer list helps nobody.
_MOST_KNOWN = 40


@dataclass(frozen=True)
class Compiling:
    """What a pipeline's settings may refer to, and which repositories they did.

    Args:
        samples: placeholder -> a value that it could have, to try templates with.
        absent: placeholder -> why this pipeline has no value for it.
        repositories: filled while settings are read, each once, in order.
    """

    samples: Mapping[str, str] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
    forges: frozenset[str] = frozenset()
    registries: frozenset[str] = frozenset()
    repositories: dict[str, None] = field(default_factory=dict)


def complaint(text: str) -> PydanticCustomError:
    """An error whose words are shown as they are."""
    return PydanticCustomError("tau", "{text}", {"text": text})


def suggestion(word: str, known: list[str]) -> str:
    """`did you mean …?`, or what there is, where that can be read."""
    near = get_close_matches(word, known, n=1)
    if near:
        return f'did you mean "{near[0]}"?'
    return f"known: {', '.join(sorted(known)) or 'none'}" if len(known) <= _MOST_KNOWN else "see docs/ci.yml.md"


# --- texts with placeholders ----------------------------------------------------------------------


@dataclass(frozen=True)
class Template:
    """Marks a text that may hold placeholders: `Annotated[str, Template(Sink.IMAGE)]`.

    Compiled, a text with a placeholder becomes `{"template": …, "sink": …}`; the planner fills it in.
    """

    sink: Sink

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Text in, text out; checked and marked only while compiling."""
        return core_schema.with_info_after_validator_function(
            self._check,
            core_schema.str_schema(),
            serialization=core_schema.plain_serializer_function_ser_schema(self._dump, info_arg=True),
        )

    def _check(self, text: str, info: ValidationInfo) -> str:
        if isinstance(info.context, Compiling):
            check_template(text, self.sink, info.context)
        return text

    def _dump(self, text: str, info: SerializationInfo) -> Json:
        if isinstance(info.context, Compiling) and placeholders(text):
            return {"template": text, "sink": str(self.sink)}
        return text


def template(sink: Sink) -> Template:
    """The mark of a text with placeholders for this sink: it stands inside `Annotated[str, …]`."""
    return Template(sink)


ImageName: TypeAlias = Annotated[str, Template(Sink.IMAGE)]
ImageTag: TypeAlias = Annotated[str, Template(Sink.IMAGE_TAG)]
Name: TypeAlias = Annotated[str, Template(Sink.NAME)]
HostLabel: TypeAlias = Annotated[str, Template(Sink.HOST_LABEL)]
VersionLabel: TypeAlias = Annotated[str, Template(Sink.VERSION_LABEL)]
Address: TypeAlias = Annotated[str, Template(Sink.ADDRESS)]
"""`https://host/path`, or `/path` alone."""
Text: TypeAlias = Annotated[str, Template(Sink.TEXT)]


def check_template(text: str, sink: Sink, compiling: Compiling) -> None:
    """Every placeholder is known here, and the sink can hold what will come out.

    Raises:
        PydanticCustomError: it is not so, and why.
    """
    for one in placeholders(text):
        if one.name in compiling.absent:
            raise complaint(f"{one} has no value here: {compiling.absent[one.name]}")
        if one.name not in compiling.samples:
            raise complaint(f"{one} is not known; {suggestion(one.name, list(compiling.samples))}")
        if one.filter not in {None, "dash"}:
            raise complaint(f"{one}: the filter is not known; known: dash")
        if one.filter and one.name in CHOSEN_BY_PUSHER:
            raise complaint(f"{one}: a {one.name} is fitted to its place anyway; write {{{one.name}}}")
    if not text:
        raise complaint("expected text, got an empty one")
    try:
        fill(text, sink, compiling.samples, "refs/heads/x")
    except CannotFit as error:
        raise complaint(str(error) if not placeholders(text) else f'"{text}": {error}') from error


@dataclass(frozen=True)
class AnyImage(Template):
    """Marks an image that may also be one of a registry, with its host, tag or digest, and then has no placeholder."""

    def _check(self, text: str, info: ValidationInfo) -> str:
        return text if REFERENCE.fullmatch(text) else super()._check(text, info)


# https://github.com/distribution/reference/blob/main/reference.go: host[:port]/name[:tag][@digest]
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
REFERENCE = re.compile(
    rf"(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]{{1,5}})?/)?{_PART}(?:/{_PART})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
ImageReference: TypeAlias = Annotated[str, AnyImage(Sink.IMAGE)]
Words: TypeAlias = Annotated[tuple[str, ...], MinLen(1)]
"""A command: a list of words, no shell in between."""


# --- numbers --------------------------------------------------------------------------------------

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SHOWN = 60
_BYTES = {"B": 1, "KB": 1024, "MB": 1024**2, "GB": 1024**3}


def _duration(value: object) -> int:
    found = re.fullmatch(r"([1-9][0-9]{0,5})([smhd])", value) if isinstance(value, str) else None
    if found:
        return int(found[1]) * _SECONDS[found[2]]
    return _compiled_number(value, "expected a duration such as 30s, 30m, 2h or 14d")


def _size(value: object) -> int:
    found = re.fullmatch(r"([1-9][0-9]{0,6})(B|KB|MB|GB)", value) if isinstance(value, str) else None
    if found:
        return int(found[1]) * _BYTES[found[2]]
    return _compiled_number(value, "expected a size such as 512MB or 2GB")


def _positive(value: object) -> int:
    if isinstance(value, str) and re.fullmatch(r"[1-9][0-9]{0,8}", value):
        return int(value)
    return _compiled_number(value, "expected a whole number from 1 on")


def _compiled_number(value: object, expected: str) -> int:
    """A number as the compiled form holds it; ci.yml itself has only texts."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    raise complaint(f"{expected}, got {shape(value)}")


def shape(value: object) -> str:
    """What a value is called in a complaint."""
    if isinstance(value, str):
        return f'"{value}"' if len(value) <= _SHOWN else f'"{value[:_SHOWN]}…"'
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, list | tuple) else str(value)


def _written(regex: str) -> WithJsonSchema:
    """How a number is written in ci.yml, for its JSON Schema."""
    return WithJsonSchema({"type": "string", "pattern": f"^({regex})$"})


Duration: TypeAlias = Annotated[int, BeforeValidator(_duration), _written(r"[1-9][0-9]{0,5}[smhd]")]
"""`30s`, `30m`, `2h`, `14d`; an int of seconds."""
Size: TypeAlias = Annotated[int, BeforeValidator(_size), _written(r"[1-9][0-9]{0,6}(B|KB|MB|GB)")]
"""`512MB`, `2GB` (1 KB = 1024 bytes, as Docker counts); an int of bytes."""
PositiveInt: TypeAlias = Annotated[int, BeforeValidator(_positive), _written(r"[1-9][0-9]{0,8}")]


# --- names ----------------------------------------------------------------------------------------

# Plausible, not proven: RFC 5321, 4.5.3.1 for the lengths.
_EMAIL = re.compile(r"(?=.{3,254}\Z)[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@([A-Za-z0-9-]+\.)+[A-Za-z]{2,}")


def _repository(text: str, info: ValidationInfo) -> str:
    if not re.fullmatch(r"[^/\s]+/~?[A-Za-z0-9._-]+/[A-Za-z0-9._-]+", text) or re.search(r"/\.{1,2}(/|\Z)|/-", text):
        raise complaint(f"expected forge/owner/name, such as github.com/2pisoftware/cmfive, got {shape(text)}")
    if isinstance(info.context, Compiling):
        forge = text.partition("/")[0]
        if forge not in info.context.forges:
            raise complaint(f'"{forge}" is none of the forges; {suggestion(forge, list(info.context.forges))}')
        info.context.repositories[text] = None
    return text


def _registry(text: str, info: ValidationInfo) -> str:
    if isinstance(info.context, Compiling) and text not in info.context.registries:
        raise complaint(f'"{text}" is none of the registries; {suggestion(text, list(info.context.registries))}')
    return text


def _glob(text: str) -> str:
    if not text or has_control(text) or re.search(r"\s", text):
        raise complaint(f"expected the name of a branch or tag, or a glob, got {shape(text)}")
    if text.startswith("refs/"):
        raise complaint(f"{shape(text)}: write the name alone, without refs/heads/ or refs/tags/")
    if text.startswith("!") or re.search(r"[\[\]{}\\]", text):
        raise complaint(f"{shape(text)}: a glob knows *, ** and ?; no classes, choices or negation")
    return text


def _path_glob(text: str) -> str:
    if not text or has_control(text):
        raise complaint(f"expected the path of a file, or a glob, got {shape(text)}")
    if text.startswith("!") or re.search(r"[{}\\]", text):
        raise complaint(f"{shape(text)}: a glob knows *, ** and ?; no choices or negation")
    return text


def _kept_glob(text: str) -> str:
    text = _path_glob(text)
    if ".." in text.split("/") or text.endswith("/"):
        raise complaint(f"{shape(text)}: name files, such as coverage/** or /results/*.png, and no way up")
    return text


def email(text: str) -> str:
    """A plausible address, or a complaint."""
    if not _EMAIL.fullmatch(text):
        raise complaint(f"expected an email address, got {shape(text)}")
    return text


def _secret(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", text):
        raise complaint("expected the name of a secret (letters, digits, . _ -), never its value")
    return text


def _variable(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,99}", text):
        raise complaint(f"expected the name of a variable, such as TARGET, got {shape(text)}")
    if text.startswith("TAU_"):
        raise complaint(f"{shape(text)}: variables that begin with TAU_ are Tau's own")
    return text


# What in a build argument's name says that its value is none of a reader's business.
_SECRET_WORDS = re.compile(
    r"(?:^|_)(?:TOKEN|PASSWORD|PASSWD|PASSPHRASE|SECRETS?|CREDENTIALS?|(?:API|ACCESS|PRIVATE|SECRET|SSH|DEPLOY)_?KEY"
    r"|APIKEY|PAT)(?:_|$)",
    re.IGNORECASE,
)


def _argument(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,99}", text):
        raise complaint(f"expected the name of a build argument, such as PHP_VERSION, got {shape(text)}")
    if _SECRET_WORDS.search(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", text)):
        raise complaint(
            f"{shape(text)} sounds like a secret, and build arguments can be read from the image: name it under"
            " `secrets`, and take it in the Dockerfile by RUN --mount=type=secret"
        )
    return text


def _secret_id(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", text):
        raise complaint(
            f"expected the id of a RUN --mount=type=secret,id=…: letters, digits, . _ and -, got {shape(text)}"
        )
    return text


def _platform(text: str) -> str:
    if not re.fullmatch(r"linux/[a-z0-9]{1,20}(?:/v[0-9]{1,2})?", text):
        raise complaint(f"expected a platform, such as linux/amd64 or linux/arm64, got {shape(text)}")
    return text


def _webhook_secret(text: str) -> str:
    # The Lambda that listens to the internet may read no other; see .chalice/policy-intake.json.
    if not _secret(text).startswith("hook-"):
        raise complaint("the name of a webhook's secret begins with hook-, such as hook-2026: intake reads no other")
    return text


def _token_secret(text: str) -> str:
    # The function that asks forges may read no other; see .chalice/policy-reconciler.json.
    if not _secret(text).startswith("token-"):
        raise complaint("the name of a forge's token begins with token-, such as token-github: nothing else is read")
    return text


Repository: TypeAlias = Annotated[str, AfterValidator(_repository)]
"""`forge/owner/name`. The compiler checks the forge, and the run's job gets the address under this very key."""
Registry: TypeAlias = Annotated[str, AfterValidator(_registry)]
"""One of ci.yml's registries."""
GlobText: TypeAlias = Annotated[str, AfterValidator(_glob)]
PathGlob: TypeAlias = Annotated[str, AfterValidator(_path_glob)]
KeptGlob: TypeAlias = Annotated[str, AfterValidator(_kept_glob)]
"""Files of a container, by their whole path or from where its command starts."""
Email: TypeAlias = Annotated[str, AfterValidator(email)]
SecretName: TypeAlias = Annotated[str, AfterValidator(_secret)]
VariableName: TypeAlias = Annotated[str, AfterValidator(_variable)]
ArgumentName: TypeAlias = Annotated[str, AfterValidator(_argument)]
"""A build argument, whose name does not sound like a secret."""
SecretId: TypeAlias = Annotated[str, AfterValidator(_secret_id)]
Platform: TypeAlias = Annotated[str, AfterValidator(_platform)]
WebhookSecret: TypeAlias = Annotated[str, AfterValidator(_webhook_secret)]
"""A secret that intake may read: its name begins with `hook-`."""
TokenSecret: TypeAlias = Annotated[str, AfterValidator(_token_secret)]
"""A secret that the reconciler may read: its name begins with `token-`."""
