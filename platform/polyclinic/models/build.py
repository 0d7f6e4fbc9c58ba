"""Build objects from the configuration of a bundle or checkpoint, with a closed table of classes and typed settings.

No parser that imports modules is used: every class is looked up in a ``ClassTable``, and every setting is checked
against the annotations of the constructor before the first object is built.
"""

import inspect
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, is_dataclass
from encodings import normalize_encoding
from encodings.aliases import aliases
from functools import partial
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from torch.nn.modules import module as torch_module
from torch.utils import deterministic

from polyclinic.modality import Modality
from polyclinic.models.class_table import ClassTable, shown

CLASS, SETTINGS = "class_path", "init_args"
_NOT_TEXT = {"base64_codec", "bz2_codec", "hex_codec", "quopri_codec", "rot_13", "uu_codec", "zlib_codec"}

MAX_DEPTH, MAX_VALUES, MAX_TEXT_LENGTH = 16, 50_000, 20_000
MAX_INTEGER, MAX_NUMBER = 2**31 - 1, 1e9
MAX_FINITE = 1e300
MAX_BY_NAME: Mapping[str, float] = {
    "batch_size": 1 << 20, "chosen": 4096, "depth": 256, "embedding": 1 << 16, "heads": 1024, "hidden": 1 << 16,
    "kernel": 4096, "levels": 1 << 16, "longest": 256, "max_seconds": 1e6, "max_tokens": 1 << 16, "mels": 1024,
    "num_workers": 1024, "numeric": 1 << 16, "patch": 1 << 14, "pool": 1 << 16, "rank": 4096, "rate": 1e6,
    "rows": 1 << 24, "seconds": 1e5, "seed": 2**63 - 1, "shape": 1 << 24, "shuffles": 4096, "size": 1 << 13,
    "stages": 256, "state": 1 << 16, "tile": 1 << 24, "views": 4096, "vocabulary_size": 1 << 21, "width": 1 << 16,
    "window": 1 << 16,
}  # fmt: skip
"""Bounds of settings by name; other names have the bound of their last word, such as ``joint_width`` of ``width``."""


@dataclass(frozen=True)
class Plan:
    """A class with checked settings.

    Attributes:
        cls: class to build.
        arguments: arguments by name, which may include plans and lists of plans.
        where: place in the configuration, for messages.
        deferred: whether to build a partial function that takes more arguments, for a setting of type ``Callable``.
    """

    cls: type
    arguments: Mapping[str, Any]
    where: str
    deferred: bool = False

    def make(self, **given: Any) -> Any:
        """Build the object with all nested objects.

        Args:
            given: additional arguments that are already objects.

        Raises:
            ValueError: the constructor refuses the settings.
        """
        arguments = {name: _build(value) for name, value in self.arguments.items()}
        if self.deferred:
            return partial(self.cls, **arguments)
        try:
            return self.cls(**arguments, **given)
        except Exception as error:
            raise ValueError(f"{self.where}: {self.cls.__name__} cannot be built here: {first_line(error)}") from None


@dataclass(frozen=True, kw_only=True)
class Builder:
    """Checks configurations against a table of classes.

    Attributes:
        table: table of the allowed classes.
        files: whether settings may refer to files.
    """

    table: ClassTable
    files: bool

    def plan(self, spec: object, kind: type, where: str, *, given: AbstractSet[str] = frozenset()) -> Plan:
        """Check a class with its settings and nested classes, without building objects.

        Args:
            spec: mapping of ``class_path`` and ``init_args``.
            kind: required base class.
            where: place in the configuration, for messages.
            given: names of the settings that ``Plan.make`` will get as objects.

        Raises:
            ValueError: a class is not declared, or a setting is unknown, missing, of another type or out of range.
        """
        check_plain(spec, where)
        return self._class(spec, kind, where, given=given)

    def plan_settings(self, cls: type, settings: object, where: str, *, given: AbstractSet[str] = frozenset()) -> Plan:
        """Check the settings of a given class; see ``plan``."""
        check_plain(settings, where)
        return self._settings(cls, settings, where, given=given)

    def _class(self, spec: object, kind: type, where: str, *, given: AbstractSet[str] = frozenset()) -> Plan:
        if is_dataclass(kind) and isinstance(spec, Mapping) and CLASS not in spec:
            return self._settings(kind, spec, where)
        if isinstance(spec, str):
            spec = {CLASS: spec}
        if not isinstance(spec, Mapping) or CLASS not in spec or not {*spec} <= {CLASS, SETTINGS}:
            raise ValueError(f"{where} is {shown(spec)}, expected only {CLASS} and {SETTINGS}; correct it")
        cls = self.table.find(spec[CLASS], kind, where)
        settings = spec.get(SETTINGS)
        return self._settings(cls, {} if settings is None else settings, where, given=given)

    def _settings(self, cls: type, settings: object, where: str, *, given: AbstractSet[str] = frozenset()) -> Plan:
        parameters = _parameters(cls, where)
        if not isinstance(settings, Mapping):
            raise ValueError(f"{where} has settings {shown(settings)}, expected a mapping by name; correct them")
        if issubclass(cls, Modality):
            settings = cls.upgraded(settings)
        accepted = {name for name in parameters if name not in given}
        if unknown := [name for name in settings if name not in accepted]:
            raise ValueError(
                f"{where}: {cls.__name__} cannot be built here: it has no setting {shown(unknown[0])}; use the version "
                "that wrote it"
            )
        required = {name for name in accepted if parameters[name].default is inspect.Parameter.empty}
        missing = [name for name in accepted if name in required and name not in settings]
        if missing:
            raise ValueError(f"{where}: {cls.__name__} lacks setting {missing[0]!r}; set it")
        arguments = {
            name: self._value(value, parameters[name].annotation, f"{where}.{name}") for name, value in settings.items()
        }
        for name, value in arguments.items():
            _refuse_out_of_range(name, value, f"{where}.{name}")
        return Plan(cls, arguments, where)

    def _value(self, value: object, annotation: Any, where: str) -> Any:
        origin, inner = get_origin(annotation), get_args(annotation)
        if origin in (Union, types.UnionType):
            return self._any_of(value, inner, where)
        if origin is Literal:
            return _one_of(value, inner, where)
        if origin is not None and inspect.isclass(origin) and issubclass(origin, Mapping):
            return self._mapping(value, inner, where)
        if origin is not None and inspect.isclass(origin) and issubclass(origin, Sequence | AbstractSet):
            return self._list(value, origin, inner, where)
        if origin is Callable:
            return self._deferred(value, inner, where)
        if inspect.isclass(annotation) and issubclass(annotation, self.table.kinds):
            return self._class(value, annotation, where)
        return self._plain(value, annotation, where)

    def _plain(self, value: object, annotation: Any, where: str) -> Any:
        if annotation is Any:
            return value
        if annotation in (None, types.NoneType) and value is None:
            return None
        if annotation in (bool, str) and type(value) is annotation:
            return value
        if annotation is int and type(value) is int:
            return value
        if annotation is float and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if annotation is Path and isinstance(value, str):
            if not self.files:
                raise ValueError(f"{where} names a file, expected null; a bundle cannot refer to other files")
            return Path(value)
        wanted = getattr(annotation, "__name__", str(annotation))
        raise ValueError(f"{where} is {shown(value)}, expected {wanted}; correct it")

    def _any_of(self, value: object, members: Sequence[Any], where: str) -> Any:
        if value is None and types.NoneType in members:
            return None
        others = [member for member in members if member is not types.NoneType]
        for member in others[:-1]:
            try:
                return self._value(value, member, where)
            except ValueError:
                continue
        return self._value(value, others[-1], where)

    def _mapping(self, value: object, inner: Sequence[Any], where: str) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise ValueError(f"{where} is {shown(value)}, expected a mapping by name; correct it")
        annotation = inner[1] if inner else Any
        return {name: self._value(entry, annotation, f"{where}.{name}") for name, entry in value.items()}

    def _list(self, value: object, origin: type, inner: Sequence[Any], where: str) -> Any:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{where} is {shown(value)}, expected a list; correct it")
        fixed = origin is tuple and inner and inner[-1] is not Ellipsis
        if fixed and len(value) != len(inner):
            raise ValueError(f"{where} has {len(value)} entries, expected {len(inner)}; correct it")
        kinds = inner if fixed else [inner[0] if inner else Any] * len(value)
        entries = [self._value(entry, kind, where) for entry, kind in zip(value, kinds, strict=True)]
        return origin(entries) if origin in (tuple, set, frozenset) else entries

    def _deferred(self, value: object, inner: Sequence[Any], where: str) -> Plan:
        """Check a class for a setting of type ``Callable``, which is called with its first arguments later."""
        arguments, kind = inner
        if not inspect.isclass(kind) or not issubclass(kind, self.table.kinds):
            raise ValueError(f"{where} is {shown(value)}, which a file cannot set; leave it out")
        spec = {CLASS: value} if isinstance(value, str) else value
        first = [] if arguments is Ellipsis else list(arguments)
        name = spec.get(CLASS) if isinstance(spec, Mapping) else None
        taken = list(_parameters(self.table.find(name, kind, where), where))[: len(first)]
        planned = self._class(spec, kind, where, given={*taken})
        return Plan(planned.cls, planned.arguments, where, deferred=True)


def check_plain(value: object, where: str, *, most: int = MAX_VALUES, longest: int = MAX_TEXT_LENGTH) -> None:
    """Refuse values that a valid file never contains, before they are processed.

    Args:
        value: parsed value of a file.
        where: place in the file, for messages.
        most: largest number of nested values.
        longest: largest number of characters of a text.

    Raises:
        ValueError: a value is not plain, a key is not text, a number is not finite, or there are too many levels,
            values or characters.
    """
    left = most
    stack: list[tuple[object, int]] = [(value, 0)]
    while stack:
        entry, depth = stack.pop()
        left -= 1
        if depth > MAX_DEPTH or left < 0:
            raise ValueError(f"{where} is too deep or too long, expected {MAX_DEPTH} levels and {most} values")
        if isinstance(entry, Mapping):
            stack += [(inner, depth + 1) for pair in entry.items() for inner in pair]
            if any(not isinstance(key, str) for key in entry):
                raise ValueError(f"{where} has a key that is not text, expected names; correct it")
        elif isinstance(entry, list | tuple):
            stack += [(inner, depth + 1) for inner in entry]
        elif isinstance(entry, str):
            if len(entry) > longest or "\0" in entry:
                raise ValueError(f"{where} has a text of {len(entry)} characters, expected fewer and none of them NUL")
        elif isinstance(entry, int | float) and not abs(entry) < MAX_FINITE:
            raise ValueError(f"{where} holds {shown(entry)}, expected finite numbers; correct it")
        elif not isinstance(entry, int | float | types.NoneType):
            raise ValueError(f"{where} holds a {type(entry).__name__}, expected plain values; correct it")


@contextmanager
def largest_model(values: int) -> Iterator[None]:
    """Stop the construction of a model with far more weights than its file stores, before it uses the memory.

    Args:
        values: number of values that the file stores.
    """
    left = SIZE_FACTOR * values + SIZE_MARGIN

    def count(module: object, name: str, value: Any) -> None:
        nonlocal left
        left -= 0 if value is None else value.numel()
        if left < 0:
            raise ValueError(f"its settings make a model far larger than its {values} stored weights")

    hooks = [
        torch_module.register_module_parameter_registration_hook(count),
        torch_module.register_module_buffer_registration_hook(count),
    ]
    # In deterministic mode, torch would fill the memory of a weight before it can be counted.
    memory: Any = deterministic
    filled, memory.fill_uninitialized_memory = memory.fill_uninitialized_memory, False
    try:
        yield
    finally:
        memory.fill_uninitialized_memory = filled
        for hook in hooks:
            hook.remove()


MAX_LINE_LENGTH = 300
SIZE_FACTOR, SIZE_MARGIN = 4, 50_000_000
"""Bound on the values of a model relative to its file; some libraries build parts that they drop before loading."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error message, truncated, or the type of the error."""
    lines = str(error).strip().splitlines()
    line = lines[0] if lines else type(error).__name__
    return line if len(line) <= MAX_LINE_LENGTH else f"{line[:MAX_LINE_LENGTH]}..."


def _build(value: Any) -> Any:
    if isinstance(value, Plan):
        return value.make()
    if isinstance(value, dict):
        return {name: _build(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_build(entry) for entry in value)
    return value


def _parameters(cls: type, where: str) -> dict[str, inspect.Parameter]:
    """Return the parameters of a constructor by name, with resolved annotations."""
    signature = inspect.signature(cls)
    try:
        hints = get_type_hints(cls.__init__)  # type: ignore[misc]
    except (NameError, TypeError, AttributeError):
        hints = {}
    found = {}
    for name, parameter in signature.parameters.items():
        if parameter.kind in (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD):
            found[name] = parameter.replace(annotation=hints.get(name, inspect.Parameter.empty))
    return found


def _refuse_out_of_range(name: str, value: object, where: str) -> None:
    """Refuse numbers above the bound of their setting, and unknown text encodings.

    Raises:
        ValueError: a number is out of range, or an encoding is unknown.
    """
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for entry in value:
            _refuse_out_of_range(name, entry, where)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        default = MAX_INTEGER if isinstance(value, int) else MAX_NUMBER
        bound = MAX_BY_NAME.get(name, MAX_BY_NAME.get(name.rpartition("_")[2], default))
        if not -bound <= value <= bound:
            raise ValueError(f"{where} is {shown(value)}, expected at most {bound:g} in magnitude; correct it")
    elif name == "encoding" and isinstance(value, str) and not _is_text_encoding(value):
        raise ValueError(f"{where} is {shown(value)}, expected a text encoding of Python, such as 'utf-8'; correct it")


def _is_text_encoding(name: str) -> bool:
    """Return whether Python has a text encoding, without importing a codec module of this name."""
    normal = normalize_encoding(name).lower()
    codec = aliases.get(normal, normal)
    return codec in {*aliases.values(), "utf_8_sig"} - _NOT_TEXT


def _one_of(value: object, choices: Sequence[object], where: str) -> object:
    for choice in choices:
        if type(value) is type(choice) and value == choice:
            return choice
    raise ValueError(f"{where} is {shown(value)}, expected one of {list(choices)}; correct it")
