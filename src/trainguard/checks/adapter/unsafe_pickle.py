"""A pickled file would run code that its content does not need.

## Why is this bad?
A pickle is a program. `torch.load(..., weights_only=False)`, `pickle.load` and every older loader
import each name that it states and call what it tells them to, before a single tensor is there.
The Trainer's own resuming loads `optimizer.pt`, `scheduler.pt` and `rng_state.pth` of the folder
that it is given. trainguard follows the opcodes without importing or calling anything and compares
each name with the list of what such a file needs.

## Example
```pickles
adapter_model.bin kind=tensors needs=collections.OrderedDict calls=os.system   # TG120
```

```pickles
optimizer.pt kind=tensors loads=builtins.eval   # TG120
training_args.bin kind="training arguments" loads=axolotl.core.training_args.Arguments   # TG120
```

## Instead
Do not load the file. Take the weights as safetensors, which cannot hold code; for a resumable
checkpoint, take it only from where it was written. A class of your own in `training_args.bin` is
reported as a warning: loading it imports the module that defines it.

```pickles
adapter_model.bin kind=tensors needs=collections.OrderedDict,torch._utils._rebuild_tensor_v2
training_args.bin kind="training arguments" needs=transformers.training_args.TrainingArguments
```

## Source
The lists hold what torch's `weights_only` reader accepts, without what does more than make tensors
and plain records, and what checkpoints of transformers 5.23 and TRL 1.16 were measured to hold.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from trainguard.facts.pickles import PickleFacts, Reference
from trainguard.findings import Finding, Location, Precision, Severity
from trainguard.registry import check

_SHOWN = 3
"""Names that the sentence has room for."""
_NEEDS = {"training arguments": "training arguments do", "random state": "a random state does"}


@check("TG120", severity=Severity.ERROR, precision=Precision.EXACT)
def unsafe_pickle(pickles: Sequence[PickleFacts]) -> Iterator[Finding]:
    """Fire for each file that refers to what it does not need."""
    for file in pickles:
        if file.refused:
            yield _finding(file)


def _finding(file: PickleFacts) -> Finding:
    refused = file.refused
    names = [reference.name for reference in refused]
    shown = ", ".join(names[:_SHOWN])
    if len(names) > _SHOWN:
        shown += f" and {len(names) - _SHOWN} more"
    what = "call" if any(reference.called for reference in refused) else "import"
    is_own = file.kind == "training arguments" and all(map(_is_own_class, refused))
    return Finding(
        f"{file.name} references {shown}, which {_NEEDS.get(file.kind, 'tensors do')} "
        f"not need, so loading it would {what} {'it' if len(names) == 1 else 'them'}",
        fix="load it only if you wrote the file or trust who did"
        if is_own
        else "do not load the file; take the weights as safetensors from a source you trust",
        location=Location(path=file.path, key=file.name, value=names[0]),
        evidence={
            "file": file.name,
            "names": names[:20],
            "count": sum(reference.count for reference in refused),
            "called": what == "call",
        },
        severity=Severity.WARNING if is_own else Severity.ERROR,
    )


def _is_own_class(reference: Reference) -> bool:
    """An empty object of a class from outside the standard library is made, nothing is called."""
    top = reference.name.partition(".")[0]
    return not reference.called and top.isidentifier() and top not in sys.stdlib_module_names
