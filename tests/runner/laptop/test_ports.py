"""What images expose, and what somebody wants of it, in; which ports are published, and how they are reached, out."""

import pytest

from chalicelib.errors import BadInput
from runner.laptop.ports import Chosen, check, chosen, lines, published


@pytest.mark.parametrize(
    ("text", "meant"),
    [("8080:80", Chosen(8080, "main", 80)), ("3307:db:3306", Chosen(3307, "db", 3306))],
)
def test_a_port_of_the_image_or_of_a_service_is_chosen(text, meant):
    assert (chosen(text), chosen(text).text) == (meant, text)


@pytest.mark.parametrize("text", ["80", "0:80", "80:0", "65536:80", "8080:80/tcp", "a:b:80", "8080:DB:80", "1:2:3", ""])
def test_what_is_no_choice_of_a_port_is_said_to_be_none(text):
    with pytest.raises(BadInput, match="such as 8080:80, or 3307:db:3306"):
        chosen(text)


def test_what_is_exposed_is_published_somewhere_and_what_is_chosen_where_it_was_chosen():
    image = {"ExposedPorts": {"8080/tcp": {}, "443/tcp": {}, "53/udp": {}}}
    wishes = [Chosen(8443, "main", 443), Chosen(9000, "main", 9), Chosen(3307, "db", 3306)]
    assert published("main", image, wishes) == {"53/udp": None, "443/tcp": 8443, "8080/tcp": None, "9/tcp": 9000}
    assert published("db", {}, wishes) == {"3306/tcp": 3307}


def test_a_service_that_is_not_there_is_missed():
    with pytest.raises(BadInput, match=r"--port 1:cache:2: there is no service cache \(there are: db\)"):
        check([Chosen(1, "cache", 2)], ["db"])


@pytest.mark.parametrize("other", [Chosen(8080, "db", 3306), Chosen(8081, "main", 80)])
def test_no_two_are_of_one_port(other):
    with pytest.raises(BadInput, match="name each port once"):
        check([Chosen(8080, "main", 80), other], ["db"])


def test_each_address_is_one_that_can_be_opened_where_the_port_says_by_what():
    reached = {"5900/tcp": 3, "80/tcp": 1, "443/tcp": 2, "3306/tcp": 4, "80/udp": 5}
    assert lines(reached, "hello") == [
        "http://127.0.0.1:1  port 80 of hello",
        "127.0.0.1:5  port 80/udp of hello",
        "https://127.0.0.1:2  port 443 of hello",
        "127.0.0.1:4  port 3306 of hello",
        "vnc://127.0.0.1:3  port 5900 of hello",
    ]
