"""The language models behind an object: find them, count what they read, take their voice.

Everything hangs on the innermost embeddings: `generate` of a wrapped model calls the inner model
directly, so a hook on the wrapper sees nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

#: How far from the object its models and tokenizers are looked for, and among how many objects.
DEPTH = 2
LARGEST_SEARCH = 2000
#: Packages whose objects ask a model in another process, on another machine or outside torch.
ENGINES = frozenset(
    {"anthropic", "google", "httpx", "litellm", "ollama", "openai", "ray", "requests"}
    | {"ctranslate2", "llama_cpp", "lmdeploy", "mlx", "mlx_lm", "onnxruntime", "optimum"}
    | {"sglang", "tensorrt_llm", "vllm"}
)
#: A logit that is certain after softmax, fits float16, and survives soft-capping.
LOUD = 1e4


@dataclass(frozen=True, slots=True, eq=False)
class LanguageModel:
    """A module with input and output embeddings."""

    module: Any
    """As it was found: wrapped by PEFT or torch.compile, or bare."""
    embedding: Any
    head: Any

    @property
    def levels(self) -> Iterator[Any]:
        """The wrapper, the models inside it, and the output head."""
        yield self.module
        for inner in self.module.modules():
            if inner is not self.module and hasattr(type(inner), "get_output_embeddings"):
                yield inner
        yield self.head


def language_model(module: Any) -> LanguageModel | None:
    """The embeddings of a module; None if it has not both."""
    import torch

    # A mock passes isinstance, not this.
    if not issubclass(type(module), torch.nn.Module):
        return None
    head, embedding = _head(module), _embedding(module)
    if head is None or embedding is None:
        return None
    return LanguageModel(module, embedding, head)


def _head(module: Any) -> Any:
    import torch

    head = _asked(module, "get_output_embeddings")
    if head is None:
        head = getattr(module, "lm_head", None)
    return head if isinstance(head, torch.nn.Module) else None


def _embedding(module: Any) -> Any:
    import torch

    embedding = _asked(module, "get_input_embeddings")
    if embedding is not None:
        return embedding
    return next((m for m in module.modules() if isinstance(m, torch.nn.Embedding)), None)


def _asked(module: Any, method: str) -> Any:
    try:
        return getattr(module, method)()
    except (AttributeError, NotImplementedError):  # encoders and vision towers have none
        return None


def surroundings(root: Any) -> list[Any]:
    """The object and what its attributes hold, up to two steps away.

    Of modules only the object itself is entered: what a model consists of is no model of its own.
    """
    found, edge = [root], [root]
    seen = {id(root)}
    for step in range(DEPTH):
        known = [
            thing for thing in edge if step == 0 or not hasattr(type(thing), "register_buffer")
        ]
        edge = [part for thing in known for part in _parts(thing) if id(part) not in seen]
        seen |= {id(part) for part in edge}
        found += edge
        if len(found) > LARGEST_SEARCH:
            break
    return found[:LARGEST_SEARCH]


def _parts(thing: Any) -> Iterator[Any]:
    """Attributes and members, without running any code of the object's class."""
    if isinstance(thing, str | bytes | int | float | type):
        return
    if isinstance(thing, dict):
        yield from list(thing.values())[:LARGEST_SEARCH]
    elif isinstance(thing, list | tuple):
        yield from thing[:LARGEST_SEARCH]
    else:
        yield from attributes(thing).values()


def attributes(thing: Any) -> dict[str, Any]:
    """The instance's own attributes, past any `__getattribute__` of its class."""
    try:
        return dict(object.__getattribute__(thing, "__dict__"))
    except AttributeError:
        return {}


def find_models(root: Any) -> list[LanguageModel]:
    """The language models on an object, each head once."""
    if "torch" not in sys.modules:
        return []
    models = [model for thing in surroundings(root) if (model := language_model(thing))]
    return list({id(model.head): model for model in reversed(models)}.values())[::-1]


def find_tokenizers(root: Any) -> list[Any]:
    """The objects around `root` whose class turns token ids into text."""
    return [thing for thing in surroundings(root) if hasattr(type(thing), "batch_decode")]


def find_engine(root: Any) -> str:
    """An object around `root` that asks a model elsewhere, by its class; empty if there is none."""
    for thing in surroundings(root):
        if type(thing).__module__.partition(".")[0] in ENGINES:
            return f"{type(thing).__module__}.{type(thing).__qualname__}"
    return ""


def is_compiled(model: LanguageModel) -> bool:
    """Whether torch.compile may run the model past hooks that are added now."""
    return any(
        getattr(module, "_compiled_call_impl", None) is not None
        or type(module).__name__ == "OptimizedModule"
        or hasattr(attributes(module).get("forward"), "_torchdynamo_orig_callable")
        for module in model.module.modules()
    )


def is_tracing() -> bool:
    """Whether torch.compile is reading this code: a hook must not end up in the user's graph.

    With `fullgraph=True` what cannot be traced would raise in the middle of the evaluation.
    """
    import torch

    return bool(torch.compiler.is_compiling())


@contextmanager
def eager() -> Iterator[None]:
    """Run compiled models uncompiled, because their graphs skip hooks that are added later."""
    if "torch._dynamo" not in sys.modules:
        yield
        return
    import torch

    with torch.compiler.set_stance("force_eager"):
        yield


class Witness:
    """Counts token positions: those that are read, and those where the next token is named.

    Args:
        models: the models to watch.
        discover: whether to watch every module of the process for further language models that
            run, and to include them from their first call.
    """

    def __init__(self, models: Iterable[LanguageModel], *, discover: bool = False) -> None:
        self.models: list[LanguageModel] = []
        self.positions = 0
        """Positions that went through the input embeddings."""
        self.named = 0
        """Positions for which an output head named the next token."""
        self._initial = list(models)
        self._discover = discover
        self._handles: list[Any] = []
        self._seen: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for model in self._initial:
            self._watch(model)
        if self._discover and "torch" in sys.modules:
            from torch.nn.modules.module import register_module_forward_pre_hook

            self._handles.append(register_module_forward_pre_hook(self._meet))
        return self

    def __exit__(self, *_: object) -> None:
        while self._handles:
            self._handles.pop().remove()
        self._seen.clear()

    def _watch(self, model: LanguageModel) -> None:
        if all(model.head is not known.head for known in self.models):
            self.models.append(model)
            read = model.embedding.register_forward_pre_hook(self._count, with_kwargs=True)
            named = model.head.register_forward_hook(self._count_named)
            self._handles += [read, named]

    def _meet(self, module: Any, _: Any) -> None:
        if is_tracing() or id(module) in self._seen:
            return
        self._seen[id(module)] = module
        if hasattr(type(module), "get_output_embeddings") or "lm_head" in module._modules:
            model = language_model(module)
            if model is not None:
                self._watch(model)

    def _count(self, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if is_tracing():
            return
        ids: Any = args[0] if args else kwargs.get("input")
        self.positions += ids.numel() if hasattr(ids, "numel") else 0

    def _count_named(self, _: Any, __: Any, logits: Any) -> None:
        if not is_tracing() and hasattr(logits, "numel") and logits.shape[-1]:
            self.named += logits.numel() // logits.shape[-1]

    @property
    def generated(self) -> int | None:
        """`named`; None if the head was bypassed, so that it says nothing about the tokens."""
        return self.named or None


class Mute:
    """Makes the heads say "end of sequence" at every position while it is entered."""

    def __init__(self, models: Iterable[LanguageModel], eos: int) -> None:
        self.calls = 0
        self._models = list(models)
        self._eos = eos
        self._handles: list[Any] = []

    def __enter__(self) -> Self:
        for model in self._models:
            self._handles.append(model.head.register_forward_hook(self._silence))
        return self

    def __exit__(self, *_: object) -> None:
        while self._handles:
            self._handles.pop().remove()

    def _silence(self, _: Any, __: Any, logits: Any) -> Any:
        import torch

        self.calls += 1
        muted = torch.full_like(logits, -LOUD)
        # A sharded head may not hold the token; any constant token silences as well.
        muted[..., self._eos if self._eos < logits.shape[-1] else 0] = LOUD
        return muted


def end_of_sequence(models: Iterable[LanguageModel], tokenizers: Iterable[Any]) -> int:
    """The token that ends a text; the first token of the vocabulary if none is declared."""
    for model in models:
        for holder in ("generation_config", "config"):
            eos = getattr(getattr(model.module, holder, None), "eos_token_id", None)
            if eos is not None:
                return int(eos[0] if isinstance(eos, list | tuple) else eos)
    declared = [getattr(tokenizer, "eos_token_id", None) for tokenizer in tokenizers]
    return next((int(eos) for eos in declared if isinstance(eos, int)), 0)
