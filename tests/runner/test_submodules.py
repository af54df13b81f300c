"""Submodules: what a repository says of them is compared with ci.yml, and every trick that is known ends there."""

import pytest

from chalicelib.errors import StepFailed
from chalicelib.model import Source
from runner.actions.build import From, beside
from runner.submodules import Module, lines, submodules

FORGE = "github.com"
PARENT = Source(FORGE, "2pisoftware/hello", "ssh://git@github.com/2pisoftware/hello.git", "github")
OURS = Source(FORGE, "2pisoftware/*", "ssh://git@github.com/{repository}.git", "github")
DC = Source("dc", "TEAM/lib", "https://git.example.com:8443/scm/{repository}.git")
SHA = "a" * 40


def listed(**said):
    return "".join(f"submodule.s.{key}\n{value}\0" for key, value in {"path": "lib", **said}.items()).encode()


def one(url, allowed=(OURS, DC), **said):
    ((module,), empty) = (
        (found := submodules(listed(url=url, **said), {"lib": SHA}, PARENT, allowed)).modules,
        found.empty,
    )
    assert (module.path, module.commit, empty) == ("lib", SHA, ())
    return module.source


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/2pisoftware/lib.git",
        "https://github.com/2pisoftware/lib",
        "https://GitHub.com/2pisoftware/lib/",
        "https://sam@github.com/2pisoftware/lib.git",
        "ssh://git@github.com/2pisoftware/lib.git",
        "git@github.com:2pisoftware/lib.git",
        "../lib.git",
        "../../2pisoftware/lib",
    ],
)
def test_whatever_form_an_address_has_the_repository_is_fetched_as_ci_yml_says(url):
    assert one(url) == Source(FORGE, "2pisoftware/lib", "ssh://git@github.com/2pisoftware/lib.git", "github")


def test_a_host_may_have_its_repositories_below_a_folder_and_a_forge_a_name_of_its_own():
    for url in (
        "https://git.example.com:8443/scm/TEAM/lib.git",
        "ssh://git@git.example.com/team/LIB",
        "https://dc/TEAM/lib",
    ):
        source = one(url)
        assert (source.forge, source.key) == ("dc", None)
        assert source.clone.startswith("https://git.example.com:8443/scm/")


HOSTILE = {
    "an option": "-u./payload",
    "an option in its name": "https://github.com/2pisoftware/-u",
    "an option as its owner": "https://github.com/--upload-pack=x/lib",
    "a host that is an option": "ssh://-oProxyCommand=touch x/2pisoftware/lib",
    "a command": "ext::sh -c touch% /tmp/pwned",
    "a command, short": "ext::github.com:2pisoftware/lib",
    "a file": "file:///etc",
    "a path": "/etc",
    "a bundle": "file:///tmp/x.bundle",
    "no protocol of ours": "http://github.com/2pisoftware/lib.git",
    "git's own": "git://github.com/2pisoftware/lib.git",
    "metadata": "http://169.254.169.254/latest/meta-data",
    "metadata by https": "https://169.254.169.254/latest/meta-data",
    "another host": "https://evil.example/2pisoftware/lib.git",
    "another host behind ours": "https://github.com@evil.example/2pisoftware/lib",
    "another port": "https://github.com:444/2pisoftware/lib",
    "a password": "https://sam:secret@github.com/2pisoftware/lib",
    "more than a name": "https://github.com/2pisoftware/lib/extra",
    "less than a name": "https://github.com/lib",
    "a way up": "https://github.com/2pisoftware/..",
    "a way up inside": "https://github.com/../lib",
    "a query": "https://github.com/2pisoftware/lib?x=y",
    "an escape": "https://github.com/2pisoftware/%2e%2e",
    "up and out": "../../../etc/passwd",
    "below its parent": "./lib",
    "nothing": "",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_an_address_that_is_none_of_a_forges_repositories_is_refused(what):
    with pytest.raises(StepFailed, match=r"the submodule lib lies at .*: write the https or ssh address") as refused:
        one(HOSTILE[what])
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("end", ["\r", "\n", "\0", "\x1b[2J", "\u2028"])
def test_what_ends_in_a_control_is_no_address_and_no_path(end):
    # A NUL ends what git says.
    with pytest.raises(StepFailed, match=r"holds a character that none does|lies at"):
        submodules(listed(url=f"https://evil.example/2pisoftware/lib{end}"), {"lib": SHA}, PARENT, [OURS])
    if end != "\0":
        with pytest.raises(StepFailed, match="give it a shorter path that can be written"):
            submodules(listed(path=f"lib{end}", url="../lib"), {f"lib{end}": SHA}, PARENT, [OURS])


@pytest.mark.parametrize(
    "url", ["https://github.com/evil/lib", "git@github.com:evil/2pisoftware", "../../evil/lib", "https://dc/TEAM/other"]
)
def test_a_repository_that_ci_yml_does_not_name_is_refused_however_well_its_host_is_known(url):
    with pytest.raises(StepFailed, match=r"which `submodules` of ci\.yml does not allow"):
        one(url)


def test_a_relative_address_means_nothing_where_the_forge_of_its_parent_is_not_allowed():
    with pytest.raises(StepFailed, match=r"is github\.com/2pisoftware/lib, which `submodules`"):
        one("../lib", allowed=(DC,))


@pytest.mark.parametrize("path", ["../x", "/etc", "lib/../..", ".git/hooks", "lib ", "LIB"])
def test_a_path_at_which_the_commit_has_no_submodule_is_no_place(path):
    found = submodules(listed(path=path, url="../lib"), {"lib": SHA}, PARENT, [OURS])
    assert (found.modules, found.empty) == ((), ("lib",))


def test_the_name_of_a_submodule_is_nothing_but_a_name():
    said = b"submodule.../../../x.path\nlib\0submodule.../../../x.url\n../lib\0"
    said += b"core.sshcommand\ntouch x\0submodule.active\n.\0"
    assert [one.path for one in submodules(said, {"lib": SHA}, PARENT, [OURS]).modules] == ["lib"]


def test_a_command_is_refused_and_one_that_is_not_wanted_is_left_empty():
    with pytest.raises(StepFailed, match="wants a command to be run for the submodule lib"):
        one("../lib", update="!touch /tmp/pwned")
    assert one("../lib", update="merge")
    assert submodules(listed(url="../lib", update="none"), {"lib": SHA}, PARENT, [OURS]).empty == ("lib",)


@pytest.mark.parametrize(
    "said",
    [
        b"submodule.s.path\nlib\0submodule.s.url\n../lib\0submodule.s.url\nhttps://evil.example/a/b\0",
        b"submodule.s.path\nlib\0submodule.s.url\n../lib\0submodule.t.path\nlib\0submodule.t.url\n../other\0",
    ],
)
def test_where_two_things_are_said_none_is_chosen(said):
    with pytest.raises(StepFailed, match="leave one out"):
        submodules(said, {"lib": SHA}, PARENT, [OURS])


def test_of_a_tree_that_goes_into_another_the_pushed_commit_takes_the_place_of_a_submodule():
    modules = tuple(Module(path, PARENT, SHA) for path in ("app", "app/vendor", "lib"))
    other = From.model_validate({"repository": "github.com/2pisoftware/x", "into": "app"})
    assert [one.path for one in beside(other, modules)] == ["lib"]
    with pytest.raises(StepFailed, match=r"the submodule app/vendor of .* lies in `into: app`"):
        beside(other, modules[1:])
    assert beside(From(repository="github.com/2pisoftware/x"), modules) == modules


def test_the_log_names_each_with_its_repository_and_commit_and_each_that_is_empty():
    found = submodules(listed(url="../lib"), {"lib": SHA, "old": SHA}, PARENT, [OURS])
    laid, left = lines("github.com/2pisoftware/hello", found)
    assert laid == "submodule lib of github.com/2pisoftware/hello: github.com/2pisoftware/lib at aaaaaaa"
    assert left.startswith("submodule old of github.com/2pisoftware/hello is not fetched, its folder is empty: ")
