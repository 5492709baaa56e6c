"""One fixed report with something of everything, and a strategy for any report."""

from __future__ import annotations

from hypothesis import strategies as st

from trainguard.findings import (
    ExcerptLine,
    Finding,
    Location,
    NotChecked,
    Precision,
    Report,
    Severity,
    Subject,
    Suppressed,
)

HOSTILE_NAME = (
    "runs/a](http://evil.example) @team #1 `x` <script>alert('1')</script>"
    "\x1b[31m\r\n::error::owned ##[error] ]]> &amp; %0A, caf\udce9\u202e\ufffe.bin"
)
"""What a file may be called: links, mentions, markup, commands, bytes that are no UTF-8."""

NAN = Finding(
    "step 2: the loss is nan, the log says 0.0",
    fix="set `logging_nan_inf_filter=False` and find the first bad batch",
    code="TG501",
    name="hidden-nan-loss",
    severity=Severity.ERROR,
    precision=Precision.EXACT,
    subject="runs/sft",
    scope="runs/sft",
    evidence={"step": 2, "loss": float("nan"), "logged": 0.0},
    location=Location(
        path="runs/sft/steps.jsonl",
        step=2,
        excerpt=(
            ExcerptLine(label="1", text="loss 2.1"),
            ExcerptLine(label="2", text="loss nan", marked=True),
        ),
    ),
)
CONSTANT = Finding(
    "the loss is 0.0 at each of 40 steps",
    fix="look at what the loss is computed from",
    code="TG503",
    name="constant-loss",
    severity=Severity.ERROR,
    precision=Precision.HIGH,
    subject="runs/sft",
    scope="runs/sft",
    location=Location(path="runs/sft/trainer_state.json", line=31, step=40),
    explained_by=("TG501",),
)
WEIGHTS = tuple(
    Finding(
        f"{number * 4} elements of layers[{number}].lora_B are NaN",
        code="TG106",
        name="nonfinite-weights",
        severity=Severity.ERROR,
        precision=Precision.EXACT,
        subject=f"runs/sft/checkpoint-{number}",
        scope="runs/sft",
        location=Location(
            path=f"runs/sft/checkpoint-{number}/adapter_model.safetensors",
            key=f"layers[{number}].lora_B",
            value="nan",
        ),
        explained_by=("TG501",),
    )
    for number in (2, 4)
)
SOURCE = Finding(
    "`model.generate` is replaced by a function that reads `answers.json`",
    fix="delete the assignment",
    code="TG830",
    name="answer-method-replaced",
    severity=Severity.ERROR,
    precision=Precision.HIGH,
    subject="evaluate.py",
    scope="evaluate.py",
    location=Location(
        path="evaluate.py",
        line=12,
        column=5,
        end_line=12,
        end_column=31,
        key="model.generate",
        excerpt=(ExcerptLine(label="12", text="    model.generate = answer", marked=True),),
    ),
)
PICKLES = tuple(
    Finding(
        f"{HOSTILE_NAME} references os.{call}, which tensors do not need, so loading it would "
        "call it",
        fix="do not load the file",
        code="TG120",
        name="unsafe-pickle",
        severity=Severity.ERROR,
        precision=Precision.EXACT,
        subject="adapters/odd",
        scope="adapters/odd",
        location=Location(path=HOSTILE_NAME, key=HOSTILE_NAME, value=f"os.{call}"),
    )
    for call in ("system", "popen")
)
FROZEN = Finding(
    "the adapter is saved with inference_mode=true",
    fix="load it with is_trainable=True",
    code="TG109",
    name="frozen-on-load",
    severity=Severity.INFO,
    precision=Precision.HIGH,
    subject="adapters/odd",
    scope="adapters/odd",
    location=Location(
        path="adapters/odd/adapter_config.json", line=7, key="inference_mode", value="true"
    ),
)
PLUGIN = Finding(
    "the reward is 3.2 everywhere",
    code="ACME1",
    name="flat-reward",
    severity=Severity.WARNING,
    precision=Precision.MEDIUM,
    subject="the model",
    scope="the model",
)
KNOWN = Finding(
    "the loss grew from 1.2 to 3.9 and stays there",
    fix="go back to a checkpoint before this step",
    code="TG507",
    name="diverging-loss",
    severity=Severity.WARNING,
    precision=Precision.MEDIUM,
    subject="runs/old",
    scope="runs/old",
    location=Location(path="runs/old/trainer_state.json", line=88, step=90),
)
SUPPRESSED = tuple(
    Suppressed(
        Finding(
            "padding uses the end-of-text token, and the collator masks it everywhere",
            code="TG807",
            name="pad-is-eos",
            severity=Severity.WARNING,
            precision=Precision.HIGH,
            subject="train.py",
            scope="train.py",
            location=Location(path="train.py", line=line),
        ),
        reason,
    )
    for line, reason in ((3, "the collator is our own"), (9, ""))
)

SAMPLE = Report(
    findings=(NAN, SOURCE, *PICKLES, PLUGIN, FROZEN, CONSTANT, *WEIGHTS),
    checked=("TG000", "TG106", "TG109", "TG120", "TG501", "TG502", "TG503", "TG807", "TG830"),
    not_checked=(
        NotChecked("needs the gradients; the log alone has none", code="TG401", subject="runs/sft"),
        NotChecked("needs a model; none was given", code="TG201"),
        NotChecked("needs a model; none was given", code="TG202"),
    ),
    subjects=(
        Subject("runs/sft", "training run"),
        Subject("runs/sft/checkpoint-2", "checkpoint"),
        Subject("runs/sft/checkpoint-4", "checkpoint"),
        Subject("evaluate.py", "script"),
        Subject("train.py", "script"),
        Subject("adapters/odd", "adapter"),
        Subject("the model", "model"),
    ),
    suppressed=SUPPRESSED,
    known=(KNOWN,),
    notes=("41 of 50 answers are right (82 %, 95 % interval 69 to 90 %)",),
)

CLEAN = Report(checked=("TG000", "TG105"), subjects=(Subject("adapters/good", "adapter"),))
NOTHING = Report()

_FRAGMENTS = st.sampled_from(
    (
        *(HOSTILE_NAME, "\n::error::x", "- [ ] x", "```", "``", "`a`", "<b>", "a|b", "&#64;"),
        *("##[group]", "]]>", "1. x", "    code", "{0}", "[a](1)", "\\", "%", "http://a.b/c"),
        *("www.a.bc", "x@y.zz", "$a$", "~~a~~", "![a](b)", "\u2028", "\x00", "\ud800", "\x85"),
        *("C:\\x", "//host/x", "../x", "GH-1", "#1", "step 1"),
    )
)
TEXTS = _FRAGMENTS | st.text(st.characters(), max_size=30)
CODES = st.sampled_from(("TG000", "TG106", "TG120", "TG501", "TG503", "TG830", "ACME1"))
_NUMBERS = st.integers(1, 10**9)
_LOCATIONS = st.builds(
    Location,
    path=st.none() | TEXTS,
    line=st.none() | _NUMBERS,
    column=st.none() | _NUMBERS,
    end_line=st.none() | _NUMBERS,
    end_column=st.none() | _NUMBERS,
    key=st.none() | TEXTS,
    value=st.none() | TEXTS,
    step=st.none() | _NUMBERS,
    excerpt=st.lists(
        st.builds(ExcerptLine, label=TEXTS, text=TEXTS, marked=st.booleans()), max_size=2
    ).map(tuple),
)
FINDINGS = st.builds(
    Finding,
    TEXTS,
    fix=TEXTS,
    location=_LOCATIONS,
    evidence=st.dictionaries(TEXTS, TEXTS | st.floats() | st.none() | st.booleans(), max_size=2),
    severity=st.sampled_from(Severity),
    precision=st.none() | st.sampled_from(Precision),
    code=CODES,
    name=TEXTS,
    subject=TEXTS,
    scope=st.sampled_from(("", "run")),
    explained_by=st.lists(CODES, max_size=1).map(tuple),
)
REPORTS = st.builds(
    Report,
    findings=st.lists(FINDINGS, max_size=4).map(tuple),
    checked=st.lists(CODES, unique=True).map(sorted).map(tuple),
    not_checked=st.lists(st.builds(NotChecked, TEXTS, code=CODES, subject=TEXTS), max_size=3).map(
        tuple
    ),
    subjects=st.lists(st.builds(Subject, TEXTS, TEXTS), max_size=3).map(tuple),
    suppressed=st.lists(
        st.builds(Suppressed, FINDINGS, TEXTS, in_source=st.booleans()), max_size=2
    ).map(tuple),
    known=st.lists(FINDINGS, max_size=2).map(tuple),
    notes=st.lists(TEXTS, max_size=2).map(tuple),
    fail_on=st.none() | st.sampled_from(Severity),
)
"""Any report, with names and messages of any characters."""
