"""What a pickled file of each kind may refer to.

These are allow-lists: a new way to run code is refused without being known. They hold what torch's
own `weights_only` reader accepts and what does nothing but make tensors and plain records.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, Final

from trainguard.gather.pickle_values import Name, Use, View

TENSORS: Final = "tensors"
RANDOM_STATE: Final = "random state"
ARGUMENTS: Final = "training arguments"
OTHER: Final = "other"


def _in(module: str, names: str) -> frozenset[str]:
    return frozenset(f"{module}.{name}" for name in names.split())


#: torch's storage classes, by the dtype as safetensors spells it.
STORAGES: Final[Mapping[str, str]] = {
    "torch.FloatStorage": "F32",
    "torch.DoubleStorage": "F64",
    "torch.HalfStorage": "F16",
    "torch.BFloat16Storage": "BF16",
    "torch.LongStorage": "I64",
    "torch.IntStorage": "I32",
    "torch.ShortStorage": "I16",
    "torch.CharStorage": "I8",
    "torch.ByteStorage": "U8",
    "torch.BoolStorage": "BOOL",
    "torch.ComplexFloatStorage": "C64",
    "torch.ComplexDoubleStorage": "C128",
    "torch.UntypedStorage": "U8",
    "torch.storage.UntypedStorage": "U8",
}
DTYPES: Final[Mapping[str, str]] = {
    "torch.float32": "F32",
    "torch.float64": "F64",
    "torch.float16": "F16",
    "torch.bfloat16": "BF16",
    "torch.int64": "I64",
    "torch.int32": "I32",
    "torch.int16": "I16",
    "torch.int8": "I8",
    "torch.uint8": "U8",
    "torch.uint16": "U16",
    "torch.uint32": "U32",
    "torch.uint64": "U64",
    "torch.bool": "BOOL",
    "torch.complex64": "C64",
    "torch.complex128": "C128",
    "torch.float8_e4m3fn": "F8_E4M3",
    "torch.float8_e5m2": "F8_E5M2",
    "torch.float8_e4m3fnuz": "F8_E4M3FNUZ",
    "torch.float8_e5m2fnuz": "F8_E5M2FNUZ",
    "torch.float8_e8m0fnu": "F8_E8M0",
}

#: Bytes of an element.
SIZES: Final[Mapping[str, int]] = {
    **dict.fromkeys(("BOOL", "U8", "I8"), 1),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F8_E8M0"), 1),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 8),
    "C128": 16,
}

_TORCH: Final = (
    STORAGES.keys()
    | DTYPES.keys()
    | _in("torch", "Size Tensor device QInt8Storage QUInt8Storage QInt32Storage QUInt4x2Storage")
    | _in("torch", "QUInt2x4Storage complex32 qint8 quint8 qint32 quint4x2 quint2x4")
    | _in("torch", "per_tensor_affine per_tensor_symmetric per_channel_affine")
    | _in("torch", "per_channel_symmetric per_channel_affine_float_qparams")
    | _in("torch.nn.parameter", "Parameter")
    | _in("torch.serialization", "_get_layout")
    | _in("torch._tensor", "_rebuild_from_type_v2")
    | _in("torch._utils", "_rebuild_tensor _rebuild_tensor_v2 _rebuild_tensor_v3")
    | _in("torch._utils", "_rebuild_parameter _rebuild_parameter_with_state _rebuild_qtensor")
    | _in("torch._utils", "_rebuild_sparse_tensor _rebuild_nested_tensor")
    | _in("torch._utils", "_rebuild_meta_tensor_no_storage _rebuild_device_tensor_from_cpu_tensor")
)
_PLAIN: Final = (
    _in("collections", "OrderedDict Counter defaultdict")
    | _in("builtins", "set frozenset complex dict list tuple int float str bool")
    | _in("_codecs", "encode")
)
_NUMPY: Final = (
    _in("numpy", "ndarray dtype")
    | _in("numpy.core.multiarray", "_reconstruct scalar")
    | _in("numpy._core.multiarray", "_reconstruct scalar")
    | _in("numpy.core.numeric", "_frombuffer")
    | _in("numpy._core.numeric", "_frombuffer")
    | _in("numpy.dtypes", "UInt32DType UInt64DType Float64DType Int64DType")
)
_VALUES: Final = _in("datetime", "timedelta") | _in(
    "pathlib", "Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath"
)
_ENUMS: Final = (
    _in("peft.utils.peft_types", "PeftType TaskType")
    | _in("transformers.training_args", "OptimizerNames ParallelMode")
    | _in("transformers.trainer_utils", "SchedulerType IntervalStrategy SaveStrategy HubStrategy")
    | _in("transformers.trainer_utils", "EvaluationStrategy FSDPOption HPSearchBackend")
    | _in("transformers.trainer_utils", "ShardedDDPOption")
    | _in("transformers.debug_utils", "DebugOption")
    | _in("transformers.utils.generic", "PaddingStrategy")
    | _in("accelerate.utils.dataclasses", "DistributedType DynamoBackend PrecisionType RNGType")
    | _in("accelerate.utils.dataclasses", "ComputeEnvironment SageMakerDistributedType")
    | _in("accelerate.utils.dataclasses", "CustomDtype LoggerType FP8BackendType")
    | _in("trl.trainer.dpo_config", "FDivergenceType")
)
#: Classes whose objects are made empty and filled; to call one with arguments starts things.
_RECORDS: Final = (
    _in("transformers.training_args", "TrainingArguments")
    | _in("transformers.training_args_seq2seq", "Seq2SeqTrainingArguments")
    | _in("transformers.trainer_pt_utils", "AcceleratorConfig")
    | _in("transformers.deepspeed", "HfTrainerDeepSpeedConfig HfDeepSpeedConfig")
    | _in("transformers.integrations.deepspeed", "HfTrainerDeepSpeedConfig HfDeepSpeedConfig")
    | _in("transformers.generation.configuration_utils", "GenerationConfig CompileConfig")
    | _in("accelerate.state", "PartialState AcceleratorState")
    | _in("accelerate.parallelism_config", "ParallelismConfig")
    | _in("accelerate.utils.dataclasses", "DeepSpeedPlugin FullyShardedDataParallelPlugin")
    | _in("accelerate.utils.dataclasses", "GradientAccumulationPlugin TorchDynamoPlugin")
    | _in("accelerate.utils.dataclasses", "TorchContextParallelConfig TorchTensorParallelConfig")
    | _in("peft.tuners.lora.config", "LoraConfig LoraRuntimeConfig")
)
#: TRL has a config class per trainer, each in a module of that name.
_CONFIG: Final = re.compile(r"trl\.(trainer|experimental\.[a-z0-9_]+)\.[a-z0-9_]+_config\.[A-Z]\w*")
_CONFIG_CLASS: Final = re.compile(r"(?!Base)[A-Z][A-Za-z0-9]*Config")

_ALLOWED: Final[Mapping[str, Set[str]]] = {
    TENSORS: _TORCH | _PLAIN,
    RANDOM_STATE: _TORCH | _PLAIN | _NUMPY,
    ARGUMENTS: _TORCH | _PLAIN | _NUMPY | _ENUMS | _VALUES,
    OTHER: _TORCH | _PLAIN | _NUMPY,
}


def needed(kind: str, name: str, use: Use) -> bool:
    """Whether a file of this kind needs what it refers to, used as it uses it."""
    if use.changed:
        return False
    if name == "builtins.getattr" and kind == ARGUMENTS:
        return bool(use.calls) and all(_gets_enum_member(call) for call in use.calls)
    if name == "_codecs.encode":
        return all(_encodes_bytes(call) for call in use.calls)
    if kind == ARGUMENTS and (name in _RECORDS or _is_trl_config(name)):
        return not use.calls
    return name in _ALLOWED[kind]


def _is_trl_config(name: str) -> bool:
    return bool(_CONFIG.fullmatch(name) and _CONFIG_CLASS.fullmatch(name.rpartition(".")[2]))


def _gets_enum_member(arguments: Any) -> bool:
    """Python 3.11 and 3.12 store a member of a plain enum as `getattr(Enum, "MEMBER")`."""
    if not isinstance(arguments, tuple) or len(arguments) != 2:
        return False
    owner, member = arguments
    known = isinstance(owner, Name) and owner.path in _ENUMS
    return known and isinstance(member, str) and bool(re.fullmatch(r"[A-Z][A-Z0-9_]*", member))


def _encodes_bytes(arguments: Any) -> bool:
    """Protocol 2 stores bytes as text in Latin-1; another codec would be imported by its name."""
    return isinstance(arguments, tuple) and arguments[1:] in (("latin1",), ("latin-1",))


def result(path: str, arguments: Any) -> Any:
    """What a call of an allow-listed name makes, as far as the tensors need it."""
    made = _RESULTS.get(path)
    return made(arguments) if made and isinstance(arguments, tuple) else None


def _rebuilt(arguments: Sequence[Any]) -> Any:
    if len(arguments) < 4:
        return None
    storage, offset, shape, stride = arguments[:4]
    dtype = arguments[6] if len(arguments) > 6 else None
    return View(storage, offset, shape, stride, dtype.path if isinstance(dtype, Name) else None)


def _first(arguments: Sequence[Any]) -> Any:
    return arguments[0] if arguments else None


_RESULTS: Final[Mapping[str, Callable[[Sequence[Any]], Any]]] = {
    "torch._utils._rebuild_tensor": _rebuilt,
    "torch._utils._rebuild_tensor_v2": lambda arguments: _rebuilt(arguments[:4]),
    "torch._utils._rebuild_tensor_v3": _rebuilt,
    "torch._utils._rebuild_parameter": _first,
    "torch.Size": _first,
}
