"""What ci.yml may say around its steps: the top-level keys as pydantic models.

The steps' own settings are the actions' (runner/actions/NAME.py). Everything here is read while compiling only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import urlsplit

from annotated_types import MinLen
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationInfo,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from chalicelib.globs import captures
from chalicelib.model import Provider
from runner.fields import (
    Compiling,
    Duration,
    Email,
    SecretName,
    Text,
    TokenSecret,
    WebhookSecret,
    complaint,
    email,
    shape,
    suggestion,
)
from runner.triggers import Part, Trigger

PLACEHOLDERS = ("branch", "tag", "major", "minor", "commit", "commit7", "repository", "pipeline")
"""The closed list; a pipeline's captures come on top."""

# A message in SQS can be kept from the others for 12 hours; the run has to be over well before.
MAX_TIMEOUT_S = 11 * 3600
_REPOSITORY = "forge/owner/name, such as github.com/2pisoftware/{client}_deploy"
_ADDRESS = re.compile(
    r"[a-z]+://([A-Za-z0-9][A-Za-z0-9._-]*@)?(\[::1\]|[A-Za-z0-9][A-Za-z0-9.-]*)(:[0-9]{1,5})?(/[A-Za-z0-9._~-]+)+"
)
_API = re.compile(r"https?://(\[::1\]|[A-Za-z0-9][A-Za-z0-9.-]*)(:[0-9]{1,5})?(/[A-Za-z0-9._~-]+)*")
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True)
class _Pattern:
    """Marks a text of a certain form; the JSON Schema says it too."""

    regex: str
    expected: str

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, core_schema.str_schema())

    def __get_pydantic_json_schema__(self, _: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "pattern": f"^({self.regex})$"}

    def _check(self, text: str) -> str:
        if not re.fullmatch(self.regex, text):
            raise complaint(f"expected {self.expected}, got {shape(text)}")
        return text


def _clone(text: str) -> str:
    """An address like `ssh://git@github.com/{repository}.git`.

    Only what cannot be read as an option, run a command (`ext::`) or reach a file (`file://`) is let through.
    """
    if text.count("{repository}") != 1 or re.search(r"[{}]", text.replace("{repository}", "")):
        raise complaint(f'"{text}": {{repository}} must stand in it, once, and no other placeholder')
    plain = text.replace("{repository}", "o/n")
    if not _ADDRESS.fullmatch(plain):
        raise complaint(f'"{text}": expected an address such as ssh://git@github.com/{{repository}}.git, no password')
    scheme, host = urlsplit(plain).scheme, urlsplit(plain).hostname
    if scheme not in {"ssh", "https"} and not (scheme == "http" and host in _LOOPBACK):
        raise complaint(f'"{text}": the scheme must be ssh or https (http for this machine only), not {scheme}')
    return text


# Where the REST API of a forge is that has but one.
_APIS = {Provider.GITHUB: "https://api.github.com", Provider.BITBUCKET_CLOUD: "https://api.bitbucket.org/2.0"}


def _api(text: str | None, info: ValidationInfo) -> str | None:
    """The base address of a forge's REST API, without a slash at its end; the provider's own where none is given."""
    if text is None:
        return _APIS.get(info.data.get("provider", ""))
    base = _spoken(text, info).rstrip("/")
    if not _API.fullmatch(base):
        raise complaint(f"{shape(text)}: expected an address such as https://api.github.com, no password, no query")
    if not base.startswith("https:") and urlsplit(base).hostname not in _LOOPBACK:
        raise complaint(f"{shape(text)}: the scheme must be https (http for this machine only): a token goes there")
    return base


def _spoken(text: str, info: ValidationInfo) -> str:
    """What is only for forges whose API something here speaks."""
    provider = info.data.get("provider")
    if provider is not None and provider not in _APIS:
        raise complaint(f"nothing here speaks the API of {provider}; known: {', '.join(sorted(_APIS))}")
    return text


def _repository_pattern(text: str, info: ValidationInfo) -> str:
    """`forge/owner/name`, where the name may hold globs and captures."""
    forge, _, full_name = text.partition("/")
    owner, _, name = full_name.partition("/")
    if not re.search(r"[^*?/]", text) or re.search(r"[*?{]", forge + owner):
        raise complaint(f"{shape(text)} would let strangers in; spell out the forge and the owner")
    literal = re.sub(r"\{[a-z][a-z0-9_]*\}|[*?]", "", name)
    if not name or not re.fullmatch(r"~?[A-Za-z0-9._-]+", owner) or not re.fullmatch(r"[A-Za-z0-9._-]*", literal):
        raise complaint(f"expected {_REPOSITORY}, got {shape(text)}")
    if name.endswith(".git"):
        raise complaint(f"{shape(text)}: leave .git out; no forge calls a repository so")
    _check_captures(text)
    if isinstance(info.context, Compiling) and forge not in info.context.forges:
        raise complaint(f'"{forge}" is none of the forges; {suggestion(forge, list(info.context.forges))}')
    return text


def _submodule(text: str, info: ValidationInfo) -> str:
    """`forge/owner/name`, where the name may hold globs."""
    if captures(text):
        raise complaint(f"{shape(text)}: nothing is captured here; write * for any name")
    return _repository_pattern(text, info)


def _check_captures(text: str) -> None:
    names = captures(text)
    for name in names:
        if name in PLACEHOLDERS:
            raise complaint(f"{{{name}}} is a placeholder already; give the capture another name")
        if names.count(name) > 1:
            raise complaint(f"{{{name}}} stands in it twice")
    if re.search(r"[}*][{*]", text.replace("**", "*")):
        raise complaint(f"{shape(text)}: where one wildcard ends and the next begins, some text must stand")


def _timeout(seconds: int) -> int:
    if seconds > MAX_TIMEOUT_S:
        raise complaint(f"a run may take {MAX_TIMEOUT_S // 3600}h at most")
    return seconds


def _one_action(step: object) -> object:
    if not isinstance(step, dict) or len(step) != 1:
        raise complaint("expected one action with its settings, such as `push: {to: [docker.io], tags: [latest]}`")
    return step


def _receiver(text: str) -> str:
    if text == "pusher":
        return text
    if "@" not in text:
        raise complaint(f"expected pusher or an email address, got {shape(text)}")
    return email(text)


# Neither "." nor "..": no forge has such, and a path would mean something else by it.
_ONE_NAME = r"(?!\.{1,2}(/|$))[A-Za-z0-9._-]+"

PipelineName: TypeAlias = Annotated[str, _Pattern(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", "a pipeline's name")]
ForgeName: TypeAlias = Annotated[
    str, _Pattern(r"[A-Za-z0-9][A-Za-z0-9.:_-]{0,99}", "a forge's name such as github.com")
]
RegistryHost: TypeAlias = Annotated[
    str, _Pattern(r"[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{1,5})?", "a registry's host[:port]")
]
# A queue that ends in -dead is another pool's, of dead letters.
PoolName: TypeAlias = Annotated[str, _Pattern(r"(?!.*-dead$)[a-z0-9][a-z0-9-]{0,39}", "the name of a pool of runners")]
RepositoryName: TypeAlias = Annotated[
    str, _Pattern(rf"(~?{_ONE_NAME}/)?{_ONE_NAME}", "a repository's name, or owner/name")
]
FullName: TypeAlias = Annotated[str, _Pattern(rf"~?{_ONE_NAME}/{_ONE_NAME}", "a repository's owner/name")]


class Forge(Part):
    """Where repositories are cloned from, and how its webhooks are signed.

    Args:
        key: the secret with the SSH key that opens its repositories; None for public ones.
        webhook: secrets that its deliveries may be signed with; two while one replaces the other.
        webhooks: `owner/name` -> the secrets that sign for that repository, instead of those of the whole forge.
        api: its REST API, asked by the reconciler.
        token: the secret with what opens it; None = the forge is not reconciled.
    """

    provider: Annotated[Literal["github", "bitbucket_cloud", "bitbucket_server"], AfterValidator(Provider)]
    clone: Annotated[str, AfterValidator(_clone)]
    key: SecretName | None = None
    webhook: Annotated[tuple[WebhookSecret, ...], MinLen(1)] | None = None
    webhooks: Annotated[dict[FullName, Annotated[tuple[WebhookSecret, ...], MinLen(1)]], MinLen(1)] | None = None
    api: Annotated[str | None, AfterValidator(_api), Field(validate_default=True)] = None
    token: Annotated[TokenSecret, AfterValidator(_spoken)] | None = None

    @model_validator(mode="after")
    def _signed(self) -> Forge:
        if not self.webhook and not self.webhooks:
            raise complaint('"webhook" is required: whoever knows no secret must not be believed')
        spelled = [name.lower() for name in self.webhooks or {}]
        twice = next((name for name in self.webhooks or {} if spelled.count(name.lower()) > 1), None)
        if twice:
            raise complaint(f"webhooks: {twice} stands in it twice; letters count in either case")
        return self


class Registry(Part):
    """Where images are pushed to; `credentials` names a secret that holds `user:password`."""

    credentials: SecretName | None = None


RepositoryId: TypeAlias = Annotated[str, _Pattern(r"\{?[A-Za-z0-9-]{1,98}\}?", "the forge's id of a repository")]


class Notify(Part):
    """Who is told how a run ended, and when."""

    to: Annotated[tuple[Annotated[str, AfterValidator(_receiver)], ...], MinLen(1)] = ("pusher",)
    on: Literal["always", "change", "failure", "never"] = "change"


class Pipeline(Part):
    """A rule: a repository, a trigger, and the steps that follow."""

    repository: Annotated[str, AfterValidator(_repository_pattern)] | None = None
    repository_id: RepositoryId | None = None
    except_: Annotated[tuple[RepositoryName, ...], MinLen(1)] | None = Field(None, alias="except")
    map: Annotated[dict[str, str], MinLen(1)] | None = None
    trigger: Trigger
    steps: Annotated[tuple[Annotated[dict[str, Any], BeforeValidator(_one_action)], ...], MinLen(1)]
    notify: Notify = Notify()
    lock: Text | None = None
    timeout: Annotated[Duration, AfterValidator(_timeout)] = 3600
    runs_on: PoolName = "default"
    supersede: Literal["queued", "running", "never"] = "queued"
    rebuild: Literal["dependents"] | None = None
    submodules: Annotated[tuple[Annotated[str, AfterValidator(_submodule)], ...], MinLen(1)] | None = None


class CiFile(Part):
    """ci.yml as a whole. A pipeline is read as a `Pipeline` of its own, since its placeholders are its own."""

    version: Literal["1"]
    operators: Annotated[tuple[Email, ...], MinLen(1)]
    forges: Annotated[dict[ForgeName, Forge], MinLen(1)]
    registries: dict[RegistryHost, Registry] = Field(default_factory=dict)
    pipelines: Annotated[dict[PipelineName, Any], MinLen(1)]
