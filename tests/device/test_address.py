from __future__ import annotations

import pytest

from edgecompile.device.address import Address, parse
from edgecompile.errors import RecipeError
from edgecompile.recipe.schema import Device


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ssh://pi5", Address("pi5")),
        ("ssh://pi@pi5.local", Address("pi5.local", "pi")),
        ("ssh://pi@10.0.0.7:2222/opt/models/", Address("10.0.0.7", "pi", 2222, "/opt/models")),
        ("ssh://jetson/~/models", Address("jetson", None, None, "models")),
        ("ssh://jetson/", Address("jetson")),
        ("ssh://root@[fe80::1%eth0]:22/x", Address("fe80::1%eth0", "root", 22, "/x")),
    ],
)
def test_reads(text, address):
    assert parse(text) == address
    assert Device(host=text).host == text  # a recipe takes the same addresses


@pytest.mark.parametrize(
    "text",
    [
        "pi@", "@pi5", "pi5", "pi@-oProxyCommand=x", "pi@pi5:x", "pi:secret@pi5", "pi@a@b",
        "http://pi5", "ssh://", "ssh://@pi5", "ssh://pi5:0", "ssh://pi5:99999", "ssh://pi5:x",
        "ssh://-oProxyCommand=touch", "ssh://-lroot@pi5", "ssh://pi:secret@pi5", "ssh://pi5 x", "ssh://pi5;x", "",
    ],
)  # fmt: skip
def test_refuses_what_is_no_address(text):
    with pytest.raises(RecipeError, match="no address of a device") as caught:
        parse(text)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("text", ["pi@pi5", "pi@pi5:22", "pi@10.0.0.7/opt/models", "root@[fe80::1]"])
def test_a_user_at_a_host_is_what_ssh_takes(text):
    assert parse(text) == parse(f"ssh://{text}")


def test_says_what_a_person_calls_the_device():
    assert str(parse("ssh://pi@[::1]:22/x")) == "ssh://pi@[::1]:22"
    assert str(parse("ssh://pi5/opt/x")) == "ssh://pi5"
