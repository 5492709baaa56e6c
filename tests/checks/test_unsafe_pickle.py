"""What TG120, TG121 and TG122 say."""

from __future__ import annotations

from trainguard.engine import judge
from trainguard.facts.adapter import AdapterFiles, FileProblem
from trainguard.facts.evidence import Evidence
from trainguard.facts.pickles import PickleFacts, Reference
from trainguard.findings import Finding
from trainguard.registry import select


def found(*pickles: PickleFacts, files: AdapterFiles | None = None) -> tuple[Finding, ...]:
    facts = {PickleFacts: pickles, AdapterFiles: files or AdapterFiles(folder="a")}
    evidence = Evidence(subject="a", kind="adapter", facts=facts)
    return judge([evidence], select(["TG120", "TG121", "TG122"])).findings


def pickled(*names: str, kind: str = "tensors", **options: bool) -> PickleFacts:
    references = tuple(Reference(name=name, **options) for name in names)
    return PickleFacts(path="a/x.pt", kind=kind, references=references)


def test_at_most_three_names_are_in_the_sentence_and_all_in_the_evidence() -> None:
    (finding,) = found(pickled("a.a", "b.b", "c.c", "d.d", "e.e", called=True))

    assert finding.message == (
        "x.pt references a.a, b.b, c.c and 2 more, which tensors do not need, "
        "so loading it would call them"
    )
    assert finding.evidence["names"] == ["a.a", "b.b", "c.c", "d.d", "e.e"]
    assert finding.evidence["count"] == 5


def test_what_is_called_comes_first() -> None:
    calm, called = Reference(name="a.a"), Reference(name="z.z", called=True, count=3)
    facts = PickleFacts(path="x.pt", kind="random state", references=(calm, called))

    (finding,) = found(facts)

    assert finding.message.startswith("x.pt references z.z, a.a, which a random state does not")
    assert finding.evidence["count"] == 4


def test_needed_names_are_no_finding() -> None:
    assert not found(pickled("collections.OrderedDict", needed=True, called=True))
    assert not found()


def test_only_an_own_class_in_training_arguments_is_milder() -> None:
    arguments = "training arguments"
    grades = {
        pickled("own.Class", kind=arguments): "warning",
        pickled("own.Class", kind=arguments, called=True): "error",
        pickled("subprocess.Popen", kind=arguments): "error",
        pickled("builtins.eval", kind=arguments): "error",
        pickled("a name that is computed while loading", kind=arguments, called=True): "error",
        pickled("own.Class"): "error",
    }
    for facts, severity in grades.items():
        assert [finding.severity.value for finding in found(facts)] == [severity]


def test_a_problem_is_reported_once() -> None:
    problem = FileProblem(path="a/adapter_model.bin", what="is cut short", fix="copy it again")
    facts = PickleFacts(path="a/adapter_model.bin", kind="tensors", problem=problem)

    alone = found(facts)
    with_tg101 = found(facts, files=AdapterFiles(folder="a", problems=(problem,)))

    assert [finding.code for finding in alone] == ["TG121"]
    assert alone[0].fix == "copy it again"
    assert not with_tg101


def test_a_problem_of_an_unknown_file_is_a_warning() -> None:
    problem = FileProblem(path="a/x.pkl", what="is cut short")
    (finding,) = found(PickleFacts(path="a/x.pkl", kind="other", problem=problem))

    assert finding.severity.value == "warning"
    assert finding.fix


def test_a_pickle_beside_safetensors_is_no_advice() -> None:
    names = ("adapter_model.bin", "adapter_model.safetensors")

    assert not found(files=AdapterFiles(folder="a", names=names))
    (finding,) = found(files=AdapterFiles(folder="a", names=names[:1]))
    assert (finding.code, finding.severity.value) == ("TG122", "info")
