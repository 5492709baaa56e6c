"""The texts of a new check and of a package for it: what `trainguard new` writes.

A new check is complete but for its judge and its words: it fails the test of its documentation
until both are written.
"""

from __future__ import annotations

from dataclasses import dataclass
from string import Template

PLACEHOLDER = "(write this: "
"""What a check that is not finished has in its documentation."""


@dataclass(frozen=True, slots=True)
class Family:
    """Where the checks of a family lie, and what they are about."""

    folder: str
    fence: str
    fires: str
    quiet: str
    module: str
    kind: str
    parameter: str
    many: bool = False

    @property
    def annotation(self) -> str:
        """What the judge's parameter is annotated with."""
        return f"Sequence[{self.kind}]" if self.many else self.kind


def _steps(folder: str) -> Family:
    fires, quiet = "step=1 loss=2.3 grad_norm=1.1", "step=1 loss=2.1 grad_norm=1.2"
    return Family(folder, "steps", fires, quiet, "steps", "StepFacts", "steps", many=True)


_LORA = "config peft_type=LORA r=8 lora_alpha="
_MODEL = "model trainable_dtypes="
_SPLIT = "split train rows="
#: By the first digit of the code.
FAMILIES = {
    "1": Family(
        "adapter", "adapter", f"{_LORA}16", f"{_LORA}8", "adapter", "AdapterConfig", "config"
    ),
    "2": Family(
        "model", "model", f"{_MODEL}float16", f"{_MODEL}float32", "model", "ModelFacts", "model"
    ),
    "3": _steps("batch"),
    "4": _steps("gradients"),
    "5": _steps("loss"),
    "6": Family(
        "evaluation",
        "evaluation",
        "parser parse_answer junk=10 answered=10",
        "parser parse_answer junk=10 answered=0",
        "evaluation_probes",
        "ParserFacts",
        "parser",
    ),
    "7": Family(
        "data", "data", f"{_SPLIT}1000", f"{_SPLIT}900", "data", "SplitFacts", "splits", many=True
    ),
    "8": Family("source", "source", "print(1)", "print(2)", "source", "SourceFacts", "source"),
    "9": _steps("ranks"),
}

_CHECK = Template('''\
"""(write this: in one sentence, what is wrong).

## Why is this bad?
(write this: what the user sees, what really happens, and why nothing says so)

## Example
```$fence
$fires   # $code
```

## Instead
(write this: what to do)

```$fence
$quiet
```

## Source
(write this: the report, the paper or the measurement that shows it, and where thresholds come from)
"""

from __future__ import annotations

from collections.abc import $collections

from trainguard.facts.$module import $kind
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check


@check("$code", severity=Severity.WARNING, precision=Precision.MEDIUM, explains=())
def $function($parameter: $annotation) -> Iterator[Finding]:
    """Fire (write this: when)."""
    raise NotImplementedError("the judge of $code $name is not written yet")
''')

_PROJECT = Template("""\
[build-system]
requires = ["hatchling>=1.27"]
build-backend = "hatchling.build"

[project]
name = "$distribution"
version = "0.1.0"
description = "Checks for trainguard"
requires-python = ">=3.11"
dependencies = ["trainguard"]

[project.entry-points."trainguard.checks"]
$package = "$package.checks"

[tool.hatch.build.targets.wheel]
packages = ["src/$package"]
""")

_LOADER = '''\
"""The checks, one file each; trainguard finds them through the entry point of this package."""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__, prefix=f"{__name__}."):
    import_module(_module.name)
'''

_TEST = Template('''\
"""The documentation of every check is its first test: `# TG990` marks the line that fires."""

import pytest
from trainguard.facts.notation import examples
from trainguard.findings import Finding
from trainguard.gather.source import evidence_from_text
from trainguard.registry import all_checks

from $package import checks

OWN = [one for one in all_checks() if one.judge.__module__.startswith(checks.__name__)]
EXAMPLES = [(one, example) for one in OWN for example in examples(one.doc)]


def test_the_checks_are_found():
    assert OWN


@pytest.mark.parametrize(("check", "example"), EXAMPLES)
def test_an_example_gives_exactly_the_findings_it_marks(check, example):
    evidence = evidence_from_text(example.text) if example.is_code else example.evidence()
    found = [verdict for verdict in check.run(evidence) if isinstance(verdict, Finding)]

    assert len(found) == sum(check.code in line.marks for line in example.lines)


@pytest.mark.parametrize("check", OWN)
def test_a_check_has_a_firing_and_a_quiet_example_and_all_its_words(check):
    fires = [any(line.marks for line in example.lines) for example in examples(check.doc)]

    assert any(fires)
    assert not all(fires)
    assert "$placeholder" not in check.doc
''')


def check_text(code: str, name: str) -> str:
    """The file of a new check."""
    family = FAMILIES[code[2]]
    return _CHECK.substitute(
        code=code,
        name=name,
        function=name.replace("-", "_"),
        fence=family.fence,
        fires=family.fires,
        quiet=family.quiet,
        module=family.module,
        kind=family.kind,
        parameter=family.parameter,
        annotation=family.annotation,
        collections="Iterator, Sequence" if family.many else "Iterator",
    )


def package_texts(distribution: str) -> dict[str, str]:
    """The files of a new package for checks, by their paths in it."""
    package = distribution.replace("-", "_")
    names = {"distribution": distribution, "package": package, "placeholder": PLACEHOLDER}
    return {
        "pyproject.toml": _PROJECT.substitute(names),
        f"src/{package}/__init__.py": f'"""{distribution}: checks for trainguard."""\n',
        f"src/{package}/checks/__init__.py": _LOADER,
        "tests/test_documentation.py": _TEST.substitute(names),
    }
