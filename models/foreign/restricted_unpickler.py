"""An unpickler that resolves names from a list of its own and never imports any.

Whatever a name says, what is called in its place is defined here or in `raw_storages`: plain containers, records of
tensors, and a stand-in that swallows the classes of torch and numpy that a snapshot holds beside its weights.
"""

import pickle
import struct
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, cast

from models.checkpoint import CheckpointError
from models.foreign.bounded_file import BoundedFile
from models.foreign.opcode_limits import check_instructions
from models.foreign.raw_storages import ELEMENT_TYPES, ElementType, Unchangeable, stored_tensor

NUMBERS = {"f8": "d", "f4": "f", "f2": "e", "i8": "q", "i4": "i", "i2": "h", "i1": "b", "u1": "B", "b1": "?"}
"""Numpy's names of plain numbers, and how `struct` unpacks them."""


class Sealed(type):
    """Makes a class whose attributes a pickle cannot set."""

    def __setattr__(cls, name: str, value: object) -> None:
        raise CheckpointError(f"tries to change the class {cls.__name__}; nothing was run")


class Entries(dict[Any, Any], metaclass=Sealed):
    """For dictionaries of every class: their entries, without attributes."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        """Attributes, such as the versions of a state dict, are not needed."""


class Ignored(metaclass=Sealed):
    """For what a snapshot holds beside weights: takes any arguments, state and items, and keeps none."""

    __slots__ = ()

    def __new__(cls, *_: object) -> "Ignored":
        return super().__new__(cls)

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, value: object) -> None:
        pass

    def add(self, value: object) -> None:
        pass


class PersistentObject(Unchangeable):
    """What NVIDIA's `torch_utils.persistence` says of a module: the name of its class and its attributes. The source
    code that comes along is dropped unread."""

    def __init__(self, meta: object, *_: object) -> None:
        if not isinstance(meta, dict) or meta.get("type") != "class" or not isinstance(meta.get("class_name"), str):
            raise CheckpointError("holds a persistent object without the name of its class")
        state = meta.get("state")
        self.class_name: str = meta["class_name"]
        self.state: dict[str, Any] = dict(state) if isinstance(state, dict) else {}

    def part(self, name: str) -> Any:
        """The submodule called `name`, or None."""
        modules = self.state.get("_modules")
        return modules.get(name) if isinstance(modules, dict) else None


class Constructor(Unchangeable):
    """A function in a form that a pickle can call and not change."""

    __slots__ = ("_build",)

    def __init__(self, build: Callable[..., object]) -> None:
        self._build = build

    def __call__(self, *arguments: object) -> object:
        return self._build(*arguments)


class NumberType(Unchangeable):
    """For `numpy.dtype`: the element type of a scalar."""

    def __init__(self, code: object, *_: object) -> None:
        self.code, self.byte_order = code, "<"

    def __setstate__(self, state: object) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        self.byte_order = order if order in ("<", "|") else "?"


def _scalar(number_type: object, data: object = b"") -> float:
    """For numpy's `multiarray.scalar`: the number."""
    if isinstance(number_type, NumberType) and isinstance(data, bytes) and number_type.byte_order != "?":
        form = NUMBERS.get(number_type.code) if isinstance(number_type.code, str) else None
        if form and len(data) == struct.calcsize("<" + form):
            return cast("float", struct.unpack("<" + form, data)[0])
    raise CheckpointError("holds a numpy scalar that is not a plain number")


def _latin1(text: object, encoding: object = "") -> bytes:
    """For `_codecs.encode`, by which old pickle protocols write bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise CheckpointError("holds bytes in an encoding other than latin1")
    return text.encode("latin1")


def _set(items: object = ()) -> set[Any]:
    if not isinstance(items, list | tuple):
        raise CheckpointError("holds a set that is not made of a list")
    return set(items)


def _first(value: object, *_: object) -> object:
    """For a parameter: the tensor in it."""
    return value


SCALAR, TENSOR, PARAMETER = Constructor(_scalar), Constructor(stored_tensor), Constructor(_first)
PLAIN_NAMES: Mapping[str, object] = {
    "collections.OrderedDict": Entries,
    "dnnlib.util.EasyDict": Entries,
    "dnnlib.EasyDict": Entries,
    "builtins.set": Constructor(_set),
    "__builtin__.set": Constructor(_set),
    "_codecs.encode": Constructor(_latin1),
    "numpy.core.multiarray.scalar": SCALAR,
    "numpy._core.multiarray.scalar": SCALAR,
    "numpy.dtype": Constructor(NumberType),
    "torch_utils.persistence._reconstruct_persistent_obj": Constructor(PersistentObject),
    "torch._utils._rebuild_tensor": TENSOR,
    "torch._utils._rebuild_tensor_v2": TENSOR,
    "torch._utils._rebuild_parameter": PARAMETER,
    "torch._utils._rebuild_parameter_with_state": PARAMETER,
    **{f"torch.{name}": ElementType(dtype) for name, dtype in ELEMENT_TYPES.items()},
}
IGNORED_NAMES = {
    "argparse.Namespace",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
    "numpy.core.numeric._frombuffer",
    "numpy._core.numeric._frombuffer",
    "numpy.ndarray",
    "torch.Size",
    "torch.device",
    *("torch.float16", "torch.float32", "torch.float64", "torch.bfloat16", "torch.uint8", "torch.bool"),
    *("torch.int8", "torch.int16", "torch.int32", "torch.int64"),
    *("torch.contiguous_format", "torch.channels_last", "torch.preserve_format", "torch.strided"),
}
IGNORED_MODULES = ("torch.nn.modules.", "torch.optim.", "torch_utils.", "training.", "dnnlib.")
TENSORFLOW_MODULE = "dnnlib.tflib"


class RestrictedUnpickler(pickle.Unpickler):
    """Reads a pickle whose names are all known.

    names: constructors by dotted name, beside those that every checkpoint may use. persistent: makes a value of a
    persistent id; None where there are none.
    """

    def __init__(
        self,
        file: BoundedFile,
        names: Mapping[str, object] | None = None,
        persistent: Callable[[object], object] | None = None,
    ) -> None:
        super().__init__(cast("BinaryIO", file))
        self._names = {**PLAIN_NAMES, **(names or {})}
        self._persistent = persistent

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for a name.

        Raises:
            CheckpointError: the name is not on the list.
        """
        full = f"{module}.{name}"
        if full in self._names:
            return self._names[full]
        if f"{module}.".startswith(TENSORFLOW_MODULE + "."):
            raise CheckpointError(
                "is a TensorFlow pickle of NVIDIA's first StyleGAN repositories. StyleGAN1 is not supported; convert a "
                "StyleGAN2 with legacy.py of stylegan2-ada-pytorch and send the .pkl that it writes"
            )
        names_class = name.isidentifier() and name[0].isupper()
        if full in IGNORED_NAMES or (names_class and f"{module}.".startswith(IGNORED_MODULES)):
            return Ignored
        raise CheckpointError(
            f"names {full[:200]!r}, which no checkpoint of weights needs; nothing of it was run. "
            "Save the weights alone (a state dict), or get the file from where it was first published"
        )

    def persistent_load(self, pid: object) -> object:
        """The storage that a persistent id stands for."""
        if self._persistent is None:
            raise CheckpointError("refers to data outside itself")
        return self._persistent(pid)


def load_restricted(
    file: BoundedFile,
    names: Mapping[str, object] | None = None,
    persistent: Callable[[object], object] | None = None,
) -> object:
    """The value of the pickle that begins here, read up to its end.

    Raises:
        CheckpointError: the pickle is malformed, or wants anything but to hold data.
    """
    check_instructions(file)
    try:
        return RestrictedUnpickler(file, names, persistent).load()
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(f"is not a well-formed pickle ({type(error).__name__}: {str(error)[:200]})") from error
