"""Dockerfiles into whose stages one instruction more is put."""

import pytest

from runner.dockerfiles import marked

MARK = 'LABEL "tau.kind"="layer"'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM a\nRUN b\n", f"FROM a\n{MARK}\nRUN b\n"),
        ("ARG V=1\nfrom a:$V\nRUN b", f"ARG V=1\nfrom a:$V\n{MARK}\nRUN b"),
        ("FROM a", f"FROM a\n{MARK}\n"),
        ("FROM a AS b\nRUN c\nFROM b\n", f"FROM a AS b\n{MARK}\nRUN c\nFROM b\n{MARK}\n"),
        ("FROM \\\n  a\nRUN b\n", f"FROM \\\n  a\n{MARK}\nRUN b\n"),
        ("FROM \\\n# why\n\n  a\nRUN b\n", f"FROM \\\n# why\n\n  a\n{MARK}\nRUN b\n"),
        ("FROM a\nRUN b \\\n  FROM c\n", f"FROM a\n{MARK}\nRUN b \\\n  FROM c\n"),
        ("# FROM a\nRUN b\n", "# FROM a\nRUN b\n"),
        ("FROM a\r\nRUN b\r\n", f"FROM a\r\n{MARK}\nRUN b\r\n"),
        ("", ""),
    ],
    ids=["one", "lower case", "no end", "two", "two lines", "a comment in it", "a word", "a comment", "CR LF", "empty"],
)
def test_each_stage_begins_with_it(text, expected):
    assert marked(text, MARK) == expected


def test_where_lines_go_on_at_another_sign_the_text_stays_as_it_is():
    text = "# syntax=x\n# escape=`\nFROM `\n a\n"
    assert marked(text, MARK) == text
