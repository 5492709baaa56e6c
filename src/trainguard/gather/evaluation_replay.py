"""The tokens that come out of `generate`, against what the output head said before each of them."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Self

from trainguard.facts.evaluation_probes import ReplayFacts
from trainguard.gather.evaluation_models import LanguageModel
from trainguard.gather.evaluation_provenance import home

#: Exponents of the e-value; their mean is an e-value as well, and no single one fits every text.
EXPONENTS = (0.25, 0.5, 0.75)
#: Settings of `generate` under which the head's choice is not the last word, with their neutral
#: values: what they do to the logits is not repeated here.
MOVES_LOGITS = {
    "bad_words_ids": None,
    "begin_suppress_tokens": None,
    "encoder_no_repeat_ngram_size": 0,
    "encoder_repetition_penalty": 1.0,
    "exponential_decay_length_penalty": None,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "guidance_scale": 1.0,
    "min_length": 0,
    "min_new_tokens": 0,
    "no_repeat_ngram_size": 0,
    "prefix_allowed_tokens_fn": None,
    "repetition_penalty": 1.0,
    "sequence_bias": None,
    "suppress_tokens": None,
    "typical_p": 1.0,
    "watermarking_config": None,
}
#: Settings under which a step yields several tokens, or none that stays.
OTHER_LOOPS = {
    "assistant_model": None,
    "constraints": None,
    "custom_generate": None,
    "dola_layers": None,
    "force_words_ids": None,
    "num_beam_groups": 1,
    "num_beams": 1,
    "penalty_alpha": None,
    "prompt_lookup_num_tokens": None,
    "token_healing": False,
}


@dataclass(eq=False)
class Replay:
    """Listens to every `generate` of transformers while it is entered.

    What the head says at one step is compared with the token that the next step reads, or, for
    the last one, that `generate` returns. Nothing is computed twice, so that there is no rounding
    to allow for.

    Args:
        models: whose output heads are listened to.
    """

    models: Iterable[LanguageModel]
    unseen: str = "no call of transformers' generate was seen"
    """Why there is nothing to compare; empty as soon as there is."""
    _texts: list[_Text] = field(default_factory=list)
    _running: list[_Text] = field(default_factory=list)
    _undo: list[Callable[[], object]] = field(default_factory=list)

    def __enter__(self) -> Self:
        if "transformers" in sys.modules:
            for model in self.models:
                hear = model.head.register_forward_hook(self._hear)
                read = model.embedding.register_forward_pre_hook(self._read, with_kwargs=True)
                self._undo += [hear.remove, read.remove]
            self._stand_in()
        return self

    def __exit__(self, *_: object) -> None:
        while self._undo:
            self._undo.pop()()

    def _stand_in(self) -> None:
        """On the class, because a method of the instance may be what is to be found out."""
        from transformers import GenerationMixin

        original = GenerationMixin.generate

        @functools.wraps(original)
        def generate(model: Any, *args: Any, **kwargs: Any) -> Any:
            text = _Text(_Settings(model, inspect.signature(original), args, kwargs))
            self._running.append(text)
            try:
                output = original(model, *args, **kwargs)
            finally:
                self._running.pop()
            if not self._running:  # a model that assists another one says nothing of its own
                text.end(output)
                self._texts.append(text)
            return output

        GenerationMixin.generate = generate
        self._undo.append(lambda: setattr(GenerationMixin, "generate", original))

    def _hear(self, _: Any, __: Any, logits: Any) -> None:
        if len(self._running) == 1:
            self._running[0].hear(logits)

    def _read(self, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if len(self._running) == 1:
            self._running[0].read(args[0] if args else kwargs.get("input"))

    @property
    def heard(self) -> bool:
        """Whether any text was generated."""
        return bool(self._texts)

    def facts(self) -> ReplayFacts | None:
        """What was heard; None, with the reason in `unseen`, where nothing can be compared."""
        reasons = [text.unusable for text in self._texts]
        usable = [text for text in self._texts if not text.unusable]
        if not usable:
            self.unseen = next(filter(None, reasons), self.unseen)
            return None
        decodings = {text.settings.decoding for text in usable}
        if len(decodings) > 1:
            self.unseen = "the evaluation decodes now greedily, now by sampling"
            return None
        facts = _summary(usable, decodings.pop())
        self.unseen = "" if facts.tokens else "no token can be compared: the head gives NaN"
        return facts if facts.tokens else None


@dataclass(frozen=True, eq=False)
class _Settings:
    """How one call of `generate` decodes."""

    model: Any
    signature: inspect.Signature
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def value(self, name: str) -> Any:
        """As `generate` resolves it: the call, the config given to it, the model's own."""
        call = self.signature.bind(self.model, *self.args, **self.kwargs).arguments
        given = {**call, **call.get("kwargs", {})}
        if given.get(name) is not None:
            return given[name]
        for config in (given.get("generation_config"), self.model.generation_config):
            if getattr(config, name, None) is not None:
                return getattr(config, name)
        return None

    @property
    def decoding(self) -> str:
        """Either "greedy" or "sampling"."""
        return "sampling" if self.value("do_sample") else "greedy"

    @property
    def temperature(self) -> float:
        """What sampling divides the logits by."""
        return float(self.value("temperature") or 1.0)

    @property
    def ends(self) -> list[int]:
        """The tokens that end a text."""
        end = self.value("eos_token_id")
        return [] if end is None else [int(one) for one in (end if _is_many(end) else [end])]

    @property
    def padding(self) -> int | None:
        """What fills rows that a stop string or a criterion ended; None if only tokens end them."""
        if self.value("stop_strings") is None and not self.value("stopping_criteria"):
            return None
        pad = self.value("pad_token_id")
        return int(pad) if pad is not None else next(iter(self.ends), None)

    @property
    def processors(self) -> list[Any]:
        """Logits processors that the call brings along."""
        return list(self.value("logits_processor") or ())

    @property
    def unusable(self) -> str:
        """Why the tokens cannot be compared with the logits; empty if they can."""
        for name, neutral in (OTHER_LOOPS | MOVES_LOGITS).items():
            if self.value(name) not in (None, neutral):
                return f"{name}={self.value(name)!r} lets more than the output head decide"
        return ""


def _is_many(value: Any) -> bool:
    return hasattr(value, "__len__")


class _Text:
    """The texts of one call of `generate`, row by row, as they grow."""

    def __init__(self, settings: _Settings) -> None:
        self.settings = settings
        self.unusable = settings.unusable
        self.rows: list[Any] = []
        """One tensor of shape (2 + len(EXPONENTS), rows) a step: whether the token counts, whether
        it was the head's first choice, and its log e-values."""
        self._padding: list[Any] = []
        """Per step, whether the token may only fill the row up; of shape (rows,), if any does."""
        self._said: Any = None
        self._alive: Any = None
        self._steps = 0

    def hear(self, logits: Any) -> None:
        """The head has spoken; `logits` has shape (rows, positions, vocabulary)."""
        if self.unusable:
            return
        if self._said is not None:  # it spoke twice before a token was read
            self.unusable = "the output head ran more than once for a token"
            return
        self._said = logits[:, -1] if logits.ndim == 3 else logits
        self._steps += 1

    def read(self, ids: Any) -> None:
        """The model reads on; `ids` has shape (rows, positions), the last token is the new one."""
        if self.unusable:
            return
        if ids is None or ids.ndim != 2:
            self.unusable = "the model was not given token ids"
        elif self._said is not None:
            self._compare(ids[:, -1])

    def end(self, output: Any) -> None:
        """`generate` returns; the last token was never read."""
        sequences = getattr(output, "sequences", output)
        if self._said is not None and not self.unusable:
            self._compare(sequences[:, -1])
        self._leave_out_padding()
        if not self._steps and not self.unusable:
            self.unusable = "the output head was bypassed"
        self._said = None

    def _compare(self, tokens: Any) -> None:
        import torch

        said, self._said = self._said, None
        if said.shape[0] != tokens.shape[0]:
            self.unusable = "rows were added or dropped while the text grew"
            return
        with torch.no_grad():
            tokens = tokens.to(said.device)
            alive = (
                torch.ones_like(tokens, dtype=torch.bool) if self._alive is None else self._alive
            )
            scores = said.float()
            best = scores.gather(1, tokens[:, None])[:, 0] >= scores.amax(dim=1)
            # From NaN nothing is chosen, whatever argmax makes of it.
            counts = alive & ~scores.isnan().any(dim=1)
            columns = [counts, best, *self._evidence(scores, tokens)]
            self.rows.append(torch.stack([column.float() for column in columns]))
            self._alive = alive.clone()
            for end in self.settings.ends:
                self._alive &= tokens != end
            padding = self.settings.padding
            if padding is not None:
                self._padding.append(tokens == padding)

    def _leave_out_padding(self) -> None:
        """Where a row ended without a token that says so, the head did not choose what follows."""
        import torch

        if not self._padding:
            return
        to_the_end = torch.stack(self._padding[::-1]).cumprod(dim=0).flip(0)
        for row, is_filled in zip(self.rows, to_the_end, strict=True):
            row[0] *= 1 - is_filled

    def _evidence(self, scores: Any, tokens: Any) -> Iterator[Any]:
        """Per exponent k, log of p(token)^-k / sum of p^(1 - k)."""
        log_p = (scores / self.settings.temperature).log_softmax(dim=1)
        chosen = log_p.gather(1, tokens[:, None])[:, 0]
        for exponent in EXPONENTS:
            yield -exponent * chosen - ((1 - exponent) * log_p).logsumexp(dim=1)


def _summary(texts: list[_Text], decoding: str) -> ReplayFacts:
    import torch

    table = torch.cat([row.cpu() for text in texts for row in text.rows], dim=1).double()
    table = table[:, table[0] > 0]
    evidence = table[2:].sum(dim=1)
    mean = evidence.logsumexp(dim=0) - torch.tensor(float(len(EXPONENTS))).log()
    return ReplayFacts(
        decoding=decoding,
        tokens=table.shape[1],
        differing=int((table[1] == 0).sum()) if decoding == "greedy" else 0,
        surprise=float(mean) if decoding == "sampling" else 0.0,
        processors=tuple(
            sorted({_named(one) for text in texts for one in text.settings.processors})
        ),
    )


def _named(processor: Any) -> str:
    name, path, line = home(processor)
    return f"{name} ({path}:{line})" if path else name
