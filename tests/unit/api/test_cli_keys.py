"""What a word on the command line means among what is attached."""

from __future__ import annotations

import pytest

from netplumb.api.cli.keys import Key, Missing, Unclear, meant, readings
from netplumb.api.v1 import netplumb_pb2 as pb

POD, OTHER_POD = "3f1e9a7c-52d4-4f0e-9d31-0a1b2c3d4e5f", "3f1e0000-52d4-4f0e-9d31-0a1b2c3d4e5f"
CONTAINER = "8c2f41" + 58 * "0"


def there(*keys: str, container_id: str = "") -> list[pb.Attachment]:
    split = [key.rpartition("/") for key in keys]
    return [pb.Attachment(workload_id=id_, if_name=name, container_id=container_id) for id_, _, name in split]


@pytest.mark.parametrize(
    ("word", "if_name", "keys"),
    [
        ("web", "", ["web/eth0"]),
        ("web/net1", "", ["web/net1", "web/net1/eth0"]),
        ("ns/web/eth0", "", ["ns/web/eth0", "ns/web/eth0/eth0"]),
        ("ns/web", "eth0", ["ns/web/eth0"]),
        ("/web", "", ["/web/eth0"]),
        ("web/", "", ["web//eth0"]),
    ],
)
def test_what_a_word_may_mean_as_it_stands(word: str, if_name: str, keys: list[str]) -> None:
    """An interface's name holds no slash, a workload's id may; an interface that is named beside it ends the doubt."""
    assert [str(key) for key in readings(word, if_name)] == keys


@pytest.mark.parametrize(
    ("word", "key"),
    [
        ("3f1e9", Key(POD, "eth0")),
        ("3f1e9/net1", Key(POD, "net1")),
        ("8c2f", Key("db", "eth0")),
        ("d", Key("db", "eth0")),
    ],
)
def test_the_beginning_of_an_id_will_do(word: str, key: Key) -> None:
    """Of the workload's, or of the container's."""
    listed = [*there(f"{POD}/eth0", f"{POD}/net1", f"{OTHER_POD}/eth0"), *there("db/eth0", container_id=CONTAINER)]
    assert meant(word, "", listed) == key


def test_what_more_than_one_begins_with_is_refused() -> None:
    """Both are named."""
    with pytest.raises(Unclear, match=rf"'3f1e' may be {OTHER_POD} or {POD}"):
        meant("3f1e", "", there(f"{POD}/eth0", f"{OTHER_POD}/eth0"))


def test_an_id_that_is_there_as_a_whole_is_the_beginning_of_no_other() -> None:
    """It is told what it has instead."""
    with pytest.raises(Missing, match=r"no attachment web/eth0; there is web/net1 or web/net2$"):
        meant("web", "", there("web/net1", "web/net2", "web-1/eth0"))
    with pytest.raises(Missing, match=r"no attachment web/net9; there is web/net1$"):
        meant("web", "net9", there("web/net1"))


def test_what_takes_away_goes_by_whole_names() -> None:
    """Who detaches web-1 again must not meet web-10. Of an id that a runtime made, enough will do."""
    listed = there("web-10/eth0", f"{POD}/eth0")
    with pytest.raises(Missing, match="no attachment web-1/eth0; there is web-10/eth0"):
        meant("web-1", "", listed, made_ids_only=True)
    with pytest.raises(Missing):
        meant("3f1", "", listed, made_ids_only=True)
    assert meant("3f1e", "", listed, made_ids_only=True) == Key(POD, "eth0")


def test_a_workload_may_be_meant_as_a_whole() -> None:
    """By a part of its id too, whatever its interfaces are called."""
    listed = there(f"{POD}/net1", f"{POD}/net2", "ns/web/net1")
    for word, key in (("3f1e", Key(POD, "")), ("3f1e/net2", Key(POD, "net2")), ("ns/web", Key("ns/web", ""))):
        assert meant(word, "", listed, implied="") == key
    with pytest.raises(Missing, match=rf"^no attachment {POD}/eth0; there is {POD}/net1 or {POD}/net2$"):
        meant("3f1e/eth0", "", listed, implied="")


def test_nothing_begins_with_nothing() -> None:
    with pytest.raises(Missing, match=r"^no attachment db/eth0$"):
        meant("db", "", there("web/eth0"))
