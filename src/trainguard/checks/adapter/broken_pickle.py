"""A pickled file of the folder cannot be read to its end.

## Why is this bad?
Resuming from a checkpoint stops at the first file that torch cannot load, after the model was
loaded. What trainguard cannot follow to its end it cannot call safe either: an archive inside an
archive, an encrypted member, or a pickle that asks for gigabytes of memory.

## Example
```pickles
optimizer.pt kind=tensors problem="is cut short: it has no directory"   # TG121
```

## Instead
Copy or download the file again. If the disk was full while it was saved, resume from the
checkpoint before it.

```pickles
optimizer.pt kind=tensors needs=collections.OrderedDict,torch._utils._rebuild_tensor_v2
```

## Source
The formats as torch 2.13 writes and reads them. A fault of the adapter's own `adapter_model.bin` is
TG101's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainguard.facts.adapter import AdapterFiles
from trainguard.facts.pickles import PickleFacts
from trainguard.findings import Finding, Location, Precision, Severity
from trainguard.registry import check


@check("TG121", severity=Severity.ERROR, precision=Precision.EXACT)
def broken_pickle(pickles: Sequence[PickleFacts], files: AdapterFiles | None) -> Iterator[Finding]:
    """Fire for each file with a fault that is not reported as the adapter's own."""
    reported = {problem.path for problem in files.problems} if files else set()
    for file in pickles:
        problem = file.problem
        if problem is None or problem.path in reported:
            continue
        yield Finding(
            f"{file.name} {problem.what}, so it can neither be loaded nor called safe",
            fix=problem.fix or "copy or download it again",
            location=Location(path=file.path, key=file.name),
            evidence={"file": file.name, "problem": problem.what},
            severity=Severity.WARNING if file.kind == "other" else Severity.ERROR,
        )
