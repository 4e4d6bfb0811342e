"""Domain files and what xm makes of them."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from xm.cfg import ConfigError, parse, parse_override
from xm.description import describe, parse_disk, parse_vif

FILE = """
# a comment
name = "hello"; memory = 0x20
vcpus = 2   # another
kernel = 'it\\'s.elf'
mode = 010
on_crash = "preserve"
disk = [ "a.img,raw,xvda,rw",
         'b.img,raw,xvdb,r',   # with a comma at the end
       ]
extra = "quiet"
extra += " debug"
empty = []
"""


def same(path):
    return path


def test_every_kind_of_value():
    assert parse(FILE, "f") == {
        "name": "hello",
        "memory": 32,
        "vcpus": 2,
        "kernel": "it's.elf",
        "mode": 8,
        "on_crash": "preserve",
        "disk": ["a.img,raw,xvda,rw", "b.img,raw,xvdb,r"],
        "extra": "quiet debug",
        "empty": [],
    }


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("name = ", 1, "expected a value"),
        ("a = 1\nname 'x'", 2, "expected `=`"),
        ("a = 'x", 1, "cannot read"),
        ("a = [1, 2", 1, "expected `]`"),
        ("a = 1 2", 1, "expected the end of the line"),
        ("\n\n'x' = 1", 3, "expected a key"),
        ("a = __import__('os')", 1, "cannot read"),
        ("a = exit", 1, "expected a value"),
        ("a = 1\na += 'x'", 2, "cannot be appended"),
    ],
)
def test_mistakes_name_their_line(text, line, words):
    with pytest.raises(ConfigError, match=words) as caught:
        parse(text, "f.cfg")
    assert str(caught.value).startswith(f"f.cfg:{line}:")


@given(st.text(max_size=60))
def test_no_text_raises_anything_else(text):
    with contextlib.suppress(ConfigError):
        parse(text, "f")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("memory=64", ("memory", 64)),
        ("name=hello", ("name", "hello")),
        ("kernel=/a/b.elf", ("kernel", "/a/b.elf")),
        ("extra='a b'", ("extra", "a b")),
        ("disk=['x,raw,xvda,w']", ("disk", ["x,raw,xvda,w"])),
        ("extra=root=/dev/xvda ro", ("extra", "root=/dev/xvda ro")),
    ],
)
def test_overrides(text, expected):
    assert parse_override(text) == expected


def test_override_without_equals_is_an_error():
    with pytest.raises(ConfigError, match="neither a file nor"):
        parse_override("hello")


@pytest.mark.parametrize(
    ("text", "target", "vdev", "access"),
    [
        ("a.img,raw,xvda,rw", "a.img", "xvda", "rw"),
        ("file:a.img,xvda,w", "a.img", "xvda", "rw"),
        ("phy:/dev/vdb,xvdb1,r", "/dev/vdb", "xvdb1", "ro"),
        ("/dev/vg/x,,hda", "/dev/vg/x", "hda", "rw"),
        ("format=raw, vdev=xvdc, access=ro, target=/a/b", "/a/b", "xvdc", "ro"),
    ],
)
def test_disk_forms(text, target, vdev, access):
    assert parse_disk(text, same) == {"target": target, "vdev": vdev, "access": access}


@pytest.mark.parametrize(
    "text", ["", "a.img", "a.img,raw,nothing", "a,qcow2,xvda,w", "a,raw,xvda,z"]
)
def test_bad_disks_are_refused(text):
    with pytest.raises(ConfigError, match="disk"):
        parse_disk(text, same)


def test_vif_forms():
    assert parse_vif("") == {}
    assert parse_vif("mac=00:16:3e:00:00:01, bridge=br1") == {
        "mac": "00:16:3e:00:00:01",
        "bridge": "br1",
    }
    with pytest.raises(ConfigError, match="rate"):
        parse_vif("rate=10")


def test_description_of_a_whole_file():
    values = {"name": "x", "kernel": "k", "root": "/dev/xvda", "extra": "ro", "maxvcpus": 4}
    assert describe(values, "placed:{}".format) == {
        "name": "x",
        "vcpus": 4,
        "cmdline": "root=/dev/xvda ro",
        "kernel": "placed:k",
        "disks": [],
        "vifs": [],
    }


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"memroy": 1}, "did you mean 'memory'"),
        ({"cpus": "0"}, "xl knows 'cpus'"),
        ({"type": "hvm"}, "only paravirtual"),
        ({"kernel": 5}, "must be a string"),
        ({"disk": "a,raw,xvda,w"}, "must be a list"),
    ],
)
def test_wrong_keys_and_values(values, words):
    with pytest.raises(ConfigError, match=words):
        describe(values, same)
