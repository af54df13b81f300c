from pathlib import Path

import pytest

from runner import git

MIRROR = Path("/var/lib/tau/mirrors/x.git")
ADDRESS = "ssh://git@github.com/2pisoftware/hello.git"
SHA = "2" * 40


@pytest.mark.parametrize(
    "argv",
    [
        git.fetch(MIRROR, ADDRESS, "refs/heads/develop"),
        git.commit_of(MIRROR, SHA),
        git.is_ancestor(MIRROR, SHA, SHA),
        git.read_tree(MIRROR, SHA),
        git.checkout_index(MIRROR, Path("/x")),
        git.archive(MIRROR, SHA),
        git.sizes(MIRROR, SHA),
        git.ignored(MIRROR, Path("/x/rules")),
    ],
    ids=lambda argv: " ".join(argv)[-30:],
)
def test_nothing_that_a_repository_configures_runs_or_redirects(argv):
    assert argv[0] == "git"
    for option in ("core.hooksPath=/dev/null", "core.fsmonitor=false", "http.followRedirects=false"):
        at = argv.index(option)
        assert argv[at - 1] == "-c"
    assert f"--git-dir={MIRROR}" in argv


@pytest.mark.parametrize("branch", ["--upload-pack=touch x", "-u", "$(id)", "`id`", "a b", "+x"])
def test_a_name_that_looks_like_an_option_stands_behind_the_dashes(branch):
    argv = git.fetch(MIRROR, ADDRESS, f"refs/heads/{branch}")
    end = argv.index("--")
    assert argv[end + 1] == ADDRESS
    assert argv[end + 2].startswith(f"+refs/heads/{branch}:refs/")
    assert len(argv) == end + 3


def test_an_odd_name_to_look_up_is_no_option():
    argv = git.commit_of(MIRROR, "--git-dir=/")
    assert argv[-2] == "--end-of-options"


def test_a_branch_and_a_branch_below_it_lie_in_different_places_of_the_mirror():
    """A forge can have `feature` now and `feature/x` tomorrow; one mirror has both for ever."""
    kept = [git.fetch(MIRROR, ADDRESS, f"refs/heads/{name}")[-1].split(":")[1] for name in ("feature", "feature/x")]
    assert not kept[1].startswith(f"{kept[0]}/")
    assert kept[0] != kept[1]


def test_the_environment_is_ours_and_small():
    ours = {
        "PATH": "/bin",
        "HOME": "/root",
        "GIT_SSH_COMMAND": "evil",
        "GIT_DIR": "/x",
        "LD_PRELOAD": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "https_proxy": "http://proxy:3128",
    }
    environment = git.environment(ours, ADDRESS, Path("/var/lib/tau/home"))
    assert environment["HOME"] == "/var/lib/tau/home"
    assert (environment["PATH"], environment["https_proxy"]) == ("/bin", "http://proxy:3128")
    assert not {"GIT_SSH_COMMAND", "GIT_DIR", "LD_PRELOAD", "AWS_SECRET_ACCESS_KEY"} & set(environment)
    assert (environment["GIT_TERMINAL_PROMPT"], environment["GIT_CONFIG_NOSYSTEM"]) == ("0", "1")
    assert (environment["GIT_CONFIG_GLOBAL"], environment["GIT_ATTR_NOSYSTEM"]) == ("/dev/null", "1")


@pytest.mark.parametrize("ours", [{}, {"LANG": "de_DE.UTF-8", "LANGUAGE": "de", "LC_ALL": "de_DE.UTF-8"}])
def test_git_answers_in_english_whatever_the_host_speaks(ours):
    environment = git.environment(ours, ADDRESS, Path("/h"))
    assert environment["LC_ALL"] == "C.UTF-8"
    assert not {"LANG", "LANGUAGE"} & set(environment)


@pytest.mark.parametrize(
    ("address", "protocol"),
    [
        (ADDRESS, "ssh"),
        ("git@github.com:2pisoftware/hello.git", "ssh"),
        ("https://github.com/2pisoftware/hello.git", "https"),
        ("file:///srv/git/hello.git", "file"),
    ],
)
def test_the_only_protocol_is_the_one_of_the_address_in_ci_yml(address, protocol):
    assert git.environment({}, address, Path("/h"))["GIT_ALLOW_PROTOCOL"] == protocol
