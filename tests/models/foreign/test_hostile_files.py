"""Files made to execute code, to exhaust memory or the stack, or to break halfway: each is refused in words, and
nothing in them runs."""

import io
import os
import pickle
import struct
import tracemalloc
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from models.checkpoint import CheckpointError
from models.foreign.importing import import_checkpoint
from models.foreign.restricted_unpickler import Entries, PersistentObject
from tests.models.foreign.nvidia_files import Generator, Persistent, snapshot, write_pickle
from tests.models.foreign.rosinality_files import rosinality_state


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    """A file that an attack would create."""
    return tmp_path / "executed"


class Command:
    """Pickles as a call of `os.system` that creates a file."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.proof}",)


class Call:
    """Pickles as a call of anything."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.function, self.arguments


def tiny_generator() -> Generator:
    torch.manual_seed(0)
    return Generator(
        2, 0, 2, 8, mapping_kwargs={"num_layers": 1}, synthesis_kwargs={"channel_base": 16, "channel_max": 2}
    )


def refusal(path: Path) -> str:
    """What the import says when it refuses a file; it must name the file."""
    with pytest.raises(CheckpointError) as caught:
        import_checkpoint(path)
    message = str(caught.value)
    assert message.startswith(f"{path.name}: ")
    assert len(message) < 600
    return message


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("place", ["alone", "beside", "in the generator", "in the discriminator"])
def test_a_reduced_command_is_refused_by_name(place: str, protocol: int, tmp_path: Path, ran: Path) -> None:
    content = snapshot(tiny_generator())
    attack = Command(ran)
    if place == "beside":
        content["augment_pipe"] = attack
    elif place == "in the generator":
        content["G_ema"].synthesis.extra = attack
    elif place == "in the discriminator":
        content["D"].extra = attack
    path = write_pickle(tmp_path / "network.pkl", attack if place == "alone" else content, protocol)
    assert "posix.system" in refusal(path)
    assert not ran.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_command_in_a_file_of_torch_is_refused_by_name(zipped: bool, tmp_path: Path, ran: Path) -> None:
    content = {"g_ema": rosinality_state([2, 2], 2, 1), "args": Command(ran)}
    torch.save(content, tmp_path / "network.pt", _use_new_zipfile_serialization=zipped)
    assert "posix.system" in refusal(tmp_path / "network.pt")
    assert not ran.exists()


NAMES = [
    *("builtins.eval", "builtins.exec", "builtins.getattr", "builtins.__import__", "os.system", "subprocess.Popen"),
    *(
        "torch.load",
        "torch.hub.load",
        "torch.utils.cpp_extension.load",
        "numpy.load",
        "pickle.loads",
        "importlib.reload",
    ),
    *("torch.nn.functional.relu", "torch.serialization.load", "models.generator.Generator", "torch_utils.x.__class__"),
    *("collections.OrderedDict.__init__", "numpy.testing._private.utils.runstring", "operator.attrgetter"),
]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_store_no_weights_are_refused(name: str, tmp_path: Path) -> None:
    module, _, attribute = name.rpartition(".")
    program = f"\x80\x02}}X\x03\x00\x00\x00argc{module}\n{attribute}\n)Rs.".encode("latin1")
    (tmp_path / "network.pkl").write_bytes(program)
    assert name in refusal(tmp_path / "network.pkl")
    dotted = b"\x80\x04" + b"".join(b"\x8c" + bytes([len(t)]) + t.encode() for t in name.split(".", 1)) + b"\x93)R."
    (tmp_path / "network.pkl").write_bytes(dotted)
    assert name in refusal(tmp_path / "network.pkl")


def nested(payload: bytes) -> Call:
    return Call(torch.storage._load_from_bytes, payload)


def legacy(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def test_a_pickle_nested_in_a_storage_is_not_loaded(tmp_path: Path, ran: Path) -> None:
    attacks = {
        "posix.system": legacy(Command(ran)),
        "_load_from_bytes": legacy(nested(legacy(Command(ran)))),
        "not a file of torch.save": pickle.dumps(Command(ran), 2).replace(b"posix", b"posix"),
        "not a tensor's storage": legacy({"a": torch.zeros(2)}),
    }
    for reason, payload in attacks.items():
        content = snapshot(tiny_generator())
        content["D"].extra = nested(payload)
        path = write_pickle(tmp_path / "network.pkl", content)
        message = refusal(path)
        assert reason in message or "posix.system" in message
        assert not ran.exists()


def test_source_code_in_a_checkpoint_is_dropped_unread(tmp_path: Path, ran: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(Persistent, "source", f"from pathlib import Path\nPath({str(ran)!r}).touch()\n")
    path = write_pickle(tmp_path / "network.pkl", snapshot(tiny_generator()))
    assert str(ran).encode() in path.read_bytes()
    imported = import_checkpoint(path)
    assert torch.isfinite(imported.generator(torch.randn(2, 2))).all()
    assert not ran.exists()


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


STATE_CHANGES = {
    # What is changed, and the instructions that put it on the stack.
    "class": name("collections", "OrderedDict"),
    "ignored class": name("torch.nn.modules.linear", "Linear"),
    "function": name("torch._utils", "_rebuild_tensor_v2"),
    "storage type": name("torch", "FloatStorage"),
}


@pytest.mark.parametrize("target", STATE_CHANGES)
@pytest.mark.parametrize("slots", [True, False])
def test_a_pickle_cannot_alter_what_reads_it(target: str, slots: bool, tmp_path: Path) -> None:
    before = dict(vars(Entries)), dict(vars(PersistentObject))
    attributes = b"}" + text("__init__") + b"K\x01s"
    state = b"N" + attributes + b"\x86" if slots else attributes
    (tmp_path / "network.pkl").write_bytes(b"\x80\x02" + STATE_CHANGES[target] + state + b"b.")
    refusal(tmp_path / "network.pkl")
    assert (dict(vars(Entries)), dict(vars(PersistentObject))) == before


BOMBS = {
    "deep tuples": b"\x80\x02)" + b"\x85" * 100_000 + b".",
    "deep tuple as key": b"\x80\x02})" + b"\x85" * 100_000 + b"K\x01s.",
    "doubled tuples as key": b"\x80\x02}N" + b"".join(b"q%ch%c\x86" % (n, n) for n in range(45)) + b"K\x01s.",
    "deep lists": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
    "deep dicts": b"\x80\x02" + b"}K\x01" * 60_000 + b"N" + b"s" * 60_000 + b".",
    "long memo index": b"\x80\x02]r\xff\xff\xff\xff.",
    "memo index": b"\x80\x02]q\xff.",
    "endless bytes": b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"x.",
    "endless text": b"\x80\x04\x8d" + struct.pack("<Q", 2**40) + b"x.",
    "endless byte array": b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"x.",
    "long frame": b"\x80\x04\x95" + struct.pack("<Q", 2**40) + b"].",
    "many instructions": b"\x80\x02" + b"]0" * 160_000 + b"N.",
    "many marks": b"\x80\x02" + b"(" * 310_000 + b".",
    "huge number": b"\x80\x02\x8b" + struct.pack("<i", 2**30) + b"x.",
    "line without end": b"\x80\x02c" + b"a" * 100_000,
    "registered extension": b"\x80\x02\x82\x01.",
    "old instance": b"\x80\x02(ios\nsystem\n.",
    "nothing on the stack": b"\x80\x02.",
    "no mark": b"\x80\x02]e.",
    "unknown memo": b"\x80\x02h\x05.",
    "call of text": b"\x80\x02" + text("os") + b")R.",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_are_refused_before_they_take_memory(bomb: str, tmp_path: Path) -> None:
    (tmp_path / "network.pkl").write_bytes(BOMBS[bomb])
    tracemalloc.start()
    refusal(tmp_path / "network.pkl")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6


def tensor_program(size: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> Call:
    storage = torch.zeros(4).untyped_storage()
    typed = torch.storage.TypedStorage(wrap_storage=storage, dtype=torch.float32, _internal=True)
    return Call(torch._utils._rebuild_tensor_v2, typed, offset, size, strides, False, OrderedDict())


@pytest.mark.parametrize(
    ("size", "strides", "offset"),
    [
        ((2**20, 2**20), (0, 0), 0),
        ((2**40,), (1,), 0),
        ((4,), (1,), 1),
        ((2,), (-1,), 1),
        ((4,), (1,), -4),
        ((2,), (2**62,), 0),
        ((2, 2), (2,), 0),
        ((True,), (1,), 0),
        ((1,) * 40, (1,) * 40, 0),
    ],
)
def test_tensors_outside_their_storage_are_refused(
    size: tuple[int, ...], strides: tuple[int, ...], offset: int, tmp_path: Path
) -> None:
    state = rosinality_state([2, 2], 2, 1)
    torch.save({"g_ema": {**state, "input.input": tensor_program(size, strides, offset)}}, tmp_path / "network.pt")
    assert "describes a tensor" in refusal(tmp_path / "network.pt")


def rewritten(path: Path, change: Callable[[zipfile.ZipFile, list[tuple[str, bytes]]], None]) -> Path:
    """A copy of a torch zip, written member by member by `change`."""
    with zipfile.ZipFile(path) as source:
        members = [(info.filename, source.read(info)) for info in source.infolist()]
    other = path.with_name("changed.pt")
    with zipfile.ZipFile(other, "w", zipfile.ZIP_STORED) as target:
        change(target, members)
    return other


def write_all(target: zipfile.ZipFile, members: list[tuple[str, bytes]]) -> None:
    for member, data in members:
        target.writestr(member, data)


def test_zips_that_torch_would_not_write_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "network.pt"
    torch.save({"g_ema": rosinality_state([2, 2], 2, 1), "latent_avg": torch.zeros(2)}, path)

    def compressed(target: zipfile.ZipFile, members: list[tuple[str, bytes]]) -> None:
        write_all(target, members)
        target.writestr("network/data/999", bytes(50_000_000), zipfile.ZIP_DEFLATED)

    def twice(target: zipfile.ZipFile, members: list[tuple[str, bytes]]) -> None:
        write_all(target, members)
        with pytest.warns(UserWarning, match="Duplicate"):
            target.writestr(*members[0])

    def shortened(target: zipfile.ZipFile, members: list[tuple[str, bytes]]) -> None:
        write_all(target, [(n, data[:-4] if n.endswith("/data/0") else data) for n, data in members])

    def images(target: zipfile.ZipFile, members: list[tuple[str, bytes]]) -> None:
        target.writestr("cat.png", b"x")

    def big_endian(target: zipfile.ZipFile, members: list[tuple[str, bytes]]) -> None:
        write_all(target, [(n, b"big" if n.endswith("byteorder") else data) for n, data in members])

    def scripted(target: zipfile.ZipFile, members: list[tuple[str, bytes]]) -> None:
        write_all(target, [*members, (members[0][0].replace("data.pkl", "constants.pkl"), b"x")])

    assert import_checkpoint(rewritten(path, write_all)).source == "rosinality"
    assert "compressed" in refusal(rewritten(path, compressed))
    assert "twice" in refusal(rewritten(path, twice))
    assert "is not there" in refusal(rewritten(path, shortened))
    assert "train on" in refusal(rewritten(path, images))
    assert "big-endian" in refusal(rewritten(path, big_endian))
    assert "TorchScript" in refusal(rewritten(path, scripted))
    damaged = bytearray(path.read_bytes())
    place = damaged.index(rosinality_bytes(path))
    damaged[place] ^= 1
    path.write_bytes(damaged)
    assert "damaged" in refusal(path)


def rosinality_bytes(path: Path) -> bytes:
    """The raw numbers of one tensor of a file."""
    content = torch.load(path, weights_only=True)
    return bytes(content["g_ema"]["conv1.conv.weight"].numpy().tobytes())


def files_of_every_kind(folder: Path) -> list[Path]:
    from models.checkpoint import save_tensors

    generator, state = tiny_generator(), rosinality_state([2, 2], 2, 1)
    content = {"g_ema": state, "latent_avg": torch.zeros(2)}
    nvidia = write_pickle(folder / "nvidia.pkl", generator)
    torch.save(content, folder / "zipped.pt")
    torch.save(content, folder / "legacy.pt", _use_new_zipfile_serialization=False)
    own = import_checkpoint(nvidia).generator
    save_tensors(
        folder / "own.safetensors", own.state_dict(), "generator", {"architecture": own.architecture.to_dict()}
    )
    return [nvidia, folder / "zipped.pt", folder / "legacy.pt", folder / "own.safetensors"]


def test_a_file_cut_at_any_tenth_byte_is_refused(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(Persistent, "source", "")
    for path in files_of_every_kind(tmp_path):
        whole, cut = path.read_bytes(), tmp_path / f"cut-{path.name}"
        for length in range(0, len(whole), 10):
            cut.write_bytes(whole[:length])
            refusal(cut)


def test_a_flipped_byte_never_raises_anything_else(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(Persistent, "source", "")
    for path in files_of_every_kind(tmp_path):
        whole, changed = path.read_bytes(), tmp_path / f"changed-{path.name}"
        for place in range(0, len(whole), max(1, len(whole) // 100)):
            changed.write_bytes(whole[:place] + bytes([whole[place] ^ 0x15]) + whole[place + 1 :])
            try:
                import_checkpoint(changed)
            except CheckpointError as error:
                assert str(error).startswith(changed.name)
