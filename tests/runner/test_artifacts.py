"""Which files of a container ci.yml means, and what a browser is told of them."""

import pytest
from pydantic import ValidationError

from runner.actions.test import Settings
from runner.artifacts import HEAD_BYTES, content_type, files, roots, wanted


def settings(*globs):
    return Settings.model_validate({"command": ["x"], "artifacts": list(globs)})


@pytest.mark.parametrize(
    ("glob", "why"),
    [
        ("../secret", "no way up"),
        ("/app/../etc/passwd", "no way up"),
        ("out/", "no way up"),
        ("{a,b}.png", "no choices"),
        ("!x", "no choices or negation"),
        ("a\nb", "expected the path"),
        ("", "expected the path"),
    ],
)
def test_a_glob_that_names_no_files_of_the_container_is_refused(glob, why):
    with pytest.raises(ValidationError, match=why):
        settings(glob)


def test_there_is_one_glob_at_least_and_twenty_at_most():
    assert settings("/a", "b/**/*.png").artifacts == ("/a", "b/**/*.png")
    for globs in ((), ("x",) * 21):
        with pytest.raises(ValidationError):
            settings(*globs)


def test_a_pipeline_without_artifacts_compiles_to_what_it_did_before():
    form = Settings.model_validate({"command": ["x"]}).model_dump(mode="json", exclude_none=True)
    assert "artifacts" not in form


@pytest.mark.parametrize(
    ("glob", "folder", "whole", "root", "name"),
    [
        ("out/*.png", "/app", "/app/out/*.png", "/app/out", "out/a.png"),
        ("./out/*.png", "/app/", "/app/out/*.png", "/app/out", "out/a.png"),
        ("*.png", "/", "/*.png", "/", "a.png"),
        ("/out/**", "/app", "/out/**", "/out", "/out/a.png"),
        ("report.html", "/app", "/app/report.html", "/app/report.html", "report.html"),
        ("a/*/b/c.txt", "/app", "/app/a/*/b/c.txt", "/app/a", "a/x/b/c.txt"),
    ],
)
def test_a_glob_with_the_folder_where_the_command_starts(glob, folder, whole, root, name):
    (one,) = wanted([glob], folder)
    assert (one.whole, one.root) == (whole, root)
    assert one.name(f"{one.base}{name}") == name


def test_what_lies_in_something_else_that_is_asked_for_is_not_asked_for_again():
    globs = wanted(["/a/*.png", "/a/b/*.png", "/ab/*", "/a/*.txt", "/a/c.txt"], "/app")
    assert roots(globs) == ("/a", "/ab")
    assert files(globs) == ("/a/c.txt",)


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a\0", "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"XXXX\0\0\0\0WEBPVP8 ", "application/octet-stream"),
        (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "text/plain; charset=utf-8"),
        (b"<!DOCTYPE html><script>alert(1)</script>", "text/plain; charset=utf-8"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3", "application/octet-stream"),
        ("\ufeffé".encode("utf-16"), "application/octet-stream"),
        (b"", "text/plain; charset=utf-8"),
        (("é" * HEAD_BYTES).encode()[1 : HEAD_BYTES + 1], "application/octet-stream"),
        ((b"x" + "é".encode() * HEAD_BYTES)[:HEAD_BYTES], "text/plain; charset=utf-8"),
        ((b"x" + "é".encode() * 10)[:-1], "application/octet-stream"),
    ],
)
def test_the_type_is_what_the_bytes_say_and_never_one_that_a_browser_runs(head, kind):
    assert content_type(head) == kind
