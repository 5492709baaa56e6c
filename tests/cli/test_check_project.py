"""A project adopts trainguard: settings, suppressions, a baseline, outputs side by side."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from trainguard.cli import main

SOURCE = """\
from peft import PeftModel
from trl import SFTTrainer

model = PeftModel.from_pretrained(base, "adapter")
SFTTrainer(model=model).train()
"""
SECOND = "\nother = PeftModel.from_pretrained(base, 'second')\nSFTTrainer(model=other).train()\n"
LOG = "".join(
    f"{{'loss': 0.0, 'grad_norm': nan, 'learning_rate': {rate}, 'epoch': 0.{n}}}\n"
    for n, rate in enumerate((2e-4, 1.5e-4, 1e-4), start=1)
)
CONFIG = (
    '{\n  "peft_type": "LORA",\n  "r": 8,\n  "lora_alpha": 0,\n  "target_modules": ["q_proj"]\n}\n'
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(SOURCE)
    (tmp_path / "train.log").write_text(LOG)
    return tmp_path


def run(*arguments: object, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, ["check", *map(str, arguments)], input=stdin)


def codes(result: Result) -> list[str]:
    return sorted(one["code"] for one in json.loads(result.stdout)["findings"])


def test_a_baseline_is_adopted_in_one_command_and_only_what_is_new_fails(project: Path) -> None:
    assert run(".").exit_code == 1
    adopted = run(".", "--update-baseline")
    assert adopted.exit_code == 0
    assert re.search(r"trainguard-baseline.json: [2-9] accepted", adopted.output)

    assert "1 accepted" in run("train.py", "--update-baseline", "--baseline", "b.json").output
    concise = run("train.log", "--baseline", "b.json", "--output-format", "concise")
    assert "TG501" in concise.output
    assert "no longer found" not in concise.output  # train.py was not looked at

    known = run(".")
    assert known.exit_code == 0
    assert "in the baseline" in known.output

    (project / "train.py").write_text("import os\n" + SOURCE + SECOND)  # the old one moves
    new = run(".", "--output-format", "json")
    assert new.exit_code == 1
    assert codes(new) == ["TG801"]
    assert json.loads(new.stdout)["findings"][0]["location"]["line"] == 8

    assert run(".", "--isolated").exit_code == 1
    assert codes(run(".", "--isolated", "--output-format", "json")).count("TG801") == 2


def test_what_is_gone_from_a_baseline_is_said_and_pruned(project: Path) -> None:
    run(".", "--update-baseline")
    (project / "train.py").write_text("print()\n")

    said = run(".")
    assert said.exit_code == 0
    assert "trainguard-baseline.json: 1 accepted and no longer found (TG801)" in said.output
    assert "no longer found" not in run("train.log").output  # its file was not looked at

    before = json.loads((project / "trainguard-baseline.json").read_text())["findings"]
    assert run(".", "--prune-baseline").exit_code == 0
    after = json.loads((project / "trainguard-baseline.json").read_text())["findings"]
    assert [e for e in before if e["code"] != "TG801"] == after
    assert "no longer found" not in run(".").output


@pytest.mark.parametrize("option", [["--prune-baseline"], ["--baseline", "none.json"]])
def test_a_baseline_that_is_not_there_is_a_usage_error(project: Path, option: list[str]) -> None:
    result = run(".", *option)

    assert result.exit_code == 2
    assert "does not exist; --update-baseline writes it" in result.output


def test_settings_hold_and_options_go_before_them(project: Path) -> None:
    (project / "pyproject.toml").write_text(
        '[tool.trainguard]\nselect = ["TG8"]\noutput-format = "json"\n'
        'severity = { TG801 = "warning" }\n'
    )
    result = run(".")
    assert codes(result) == ["TG801"]
    assert result.exit_code == 0
    assert run(".", "--fail-on", "warning").exit_code == 1
    assert "TG501" in codes(run(".", "--select", "TG5"))
    assert codes(run(".", "--ignore", "TG801")) == []
    assert run(".", "--output-format", "concise").output.startswith("train.py:4: TG801 warning")
    assert run(".", "--isolated").output.startswith("error[")


def test_a_path_is_ignored_or_not_looked_at(project: Path) -> None:
    (project / "trainguard.toml").write_text(
        'exclude = ["*.log"]\n[per-path-ignores]\n"train.py" = ["adapter-loaded-frozen"]\n'
    )
    report = json.loads(run(".", "--output-format", "json").stdout)

    assert report["findings"] == []
    assert [s["name"] for s in report["summary"]["subjects"]] == ["train.py"]
    assert [s["suppressed_because"] for s in report["suppressed"]] == [
        "ignored in train.py by trainguard.toml"
    ]
    assert run("train.log").exit_code == 1  # named by the user, it is looked at


def test_a_mistake_in_the_settings_is_a_usage_error_with_the_nearest_word(project: Path) -> None:
    (project / "trainguard.toml").write_text("fail_on = 'error'\n")
    result = run(".")

    assert result.exit_code == 2
    assert "there is no setting 'fail_on'; did you mean fail-on" in result.output
    assert "Traceback" not in result.output


def test_an_unused_suppression_is_reported_and_a_used_one_is_not(project: Path) -> None:
    used = SOURCE.replace('"adapter")', '"adapter")  # trainguard: ignore[TG801] shown in a talk')
    unused = "x = 1  # trainguard: ignore[nan-loss-replaced] not any more\n"
    text = '"""Write `# trainguard: ignore[TG801]`."""\n'  # a string is no comment
    (project / "train.py").write_text(text + used + unused)

    ours = ("--select", "TG0,TG8", "--output-format", "json")
    report = json.loads(run(".", *ours).stdout)

    assert [(f["code"], f["location"]["line"]) for f in report["findings"]] == [("TG001", 7)]
    assert [one["code"] for one in report["suppressed"]] == ["TG801"]
    # What was not looked for may still be needed, and so what other files have a part in.
    assert codes(run(".", *ours, "--ignore", "TG812")) == []
    alone = json.loads(run("train.py", *ours).stdout)
    assert alone["findings"] == []
    assert "TG001" not in alone["checked"]
    assert "TG001" in [one["code"] for one in alone["not_checked"] if one.get("subject")]


def test_a_suppression_that_names_no_check_is_reported_with_the_nearest(project: Path) -> None:
    (project / "train.py").write_text("x = 1  # trainguard: ignore[adapter-loaded-frosen] why\n")

    assert "write adapter-loaded-frozen if that is meant" in run("train.py").output


def test_outputs_stand_side_by_side_and_machines_get_nothing_else(project: Path) -> None:
    beside = run(".", "-o", "sarif:out.sarif", "-o", "junit:out.xml", "-o", "html:page.html")
    assert beside.output.startswith("error[")
    assert json.loads(Path("out.sarif").read_text())["version"] == "2.1.0"
    assert Path("out.xml").read_text().startswith("<?xml")
    assert (
        "<svg" in Path("page.html").read_text().lower() or "TG501" in Path("page.html").read_text()
    )

    instead = run(".", "-o", "report.json")
    assert instead.output == ""
    assert json.loads(Path("report.json").read_text())["version"] == 1
    assert run(".", "-o", "missing/report.json").exit_code == 2


def test_statistics_count_findings(project: Path) -> None:
    (project / "train.py").write_text(SOURCE + SECOND)
    lines = run(".", "--statistics").output.splitlines()

    assert lines[0].split() == ["2", "TG801", "error", "adapter-loaded-frozen"]
    counted = json.loads(run(".", "--statistics", "--output-format", "json").stdout)
    assert counted[0] == {
        "code": "TG801",
        "name": "adapter-loaded-frozen",
        "severity": "error",
        "count": 2,
    }


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        (SOURCE, None, "TG801"),
        (SOURCE, "train.py", "TG801"),
        (LOG, None, "TG501"),
        (CONFIG, None, "TG108"),
        (CONFIG, "adapter_config.json", "TG108"),
        (
            '{"log_history": ['
            + LOG.replace("'", '"')
            .replace("}\n", ', "step": 1}')[:-1]
            .replace("nan", "NaN")
            .replace("}{", "},{")
            + "}]}",
            None,
            "TG501",
        ),
    ],
    ids=["script", "named script", "log", "config", "named config", "state"],
)
def test_standard_input_is_recognised(
    project: Path, text: str, name: str | None, expected: str
) -> None:
    named = ["--stdin-filename", name] if name else []
    result = run("-", "--output-format", "json", *named, stdin=text)

    assert expected in codes(result)
    place = json.loads(result.stdout)["findings"][0]["location"]["path"]
    assert place == (name or "<stdin>")


@pytest.mark.parametrize(
    "head",
    [
        "import torch\nTraceback (most recent call last):\n  File 'x'\n",
        '{\n  "learning_rate": 0.0002\n}\n',
        '{\n  "peft_type": "LORA"\n}\n',
    ],
)
def test_a_log_that_shows_something_else_first_is_a_log(project: Path, head: str) -> None:
    assert "TG501" in codes(run("-", "--output-format", "json", stdin=head + LOG))


def test_a_name_that_says_script_is_believed(project: Path) -> None:
    result = run("-", "--stdin-filename", "a.py", "--output-format", "json", stdin="def f(:\n")

    assert result.exit_code in (0, 1)
    assert json.loads(result.stdout)["summary"]["subjects"][0]["kind"] == "source file"


def test_a_command_is_told_of_an_error(project: Path) -> None:
    told = f"{sys.executable} -c \"import sys; open('told.json', 'w').write(sys.stdin.read())\""

    assert run(".", "--notify", told).exit_code == 1
    assert json.loads(Path("told.json").read_text())["summary"]["error"] >= 1
    Path("told.json").unlink()
    run("train.py", "--ignore", "TG801", "--notify", told)
    assert not Path("told.json").exists()


def about(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def test_config_prints_what_holds_for_a_path(project: Path) -> None:
    (project / "trainguard.toml").write_text(
        'ignore = ["TG1"]\n[per-path-ignores]\n"old/*" = ["TG8"]\n[checks.loss-spike]\nfactor = 2\n'
    )
    (project / "old").mkdir()
    shown = json.loads(about("config", "old", "--output-format", "json").stdout)

    assert shown["ignored here"] == []  # the folder itself is not below itself
    (project / "old" / "a.py").write_text("")
    shown = json.loads(about("config", "old/a.py", "--output-format", "json").stdout)
    assert shown["ignored here"] == ["TG8"]
    assert shown["thresholds"] == {"loss-spike": {"factor": 2}}
    assert shown["settings"].endswith("trainguard.toml")
    assert shown["baseline"] is None
    run(".", "--update-baseline")
    said = about("config", "old/a.py").output
    assert "loss-spike factor=2" in said
    assert "/trainguard-baseline.json" in said


def test_explain_and_checks_speak_json() -> None:
    one = json.loads(about("explain", "loss-spike", "--output-format", "json").stdout)
    everything = json.loads(about("checks", "--output-format", "json").stdout)

    assert one["thresholds"] == {"outsize": 10.0, "factor": 1.5}
    assert one["documentation"].startswith(one["summary"])
    assert {key: one[key] for key in everything[0]} in everything


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_offers_checks_with_their_summaries(shell: str) -> None:
    script = about("completion", shell)
    assert "_TRAINGUARD_COMPLETE" in script.output

    environment = {
        "_TRAINGUARD_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": "trainguard explain hidden",
        "COMP_CWORD": "2" if shell != "fish" else "hidden",
    }
    offered = CliRunner().invoke(main, env=environment, prog_name="trainguard")
    assert "hidden-nan-loss" in offered.output


def test_a_closed_standard_input_is_a_usage_error(project: Path) -> None:
    program = "import sys; sys.stdin = None; from trainguard.cli import main; main(['check', '-'])"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert ended.returncode == 2
    assert "standard input is closed" in ended.stderr


def test_the_stream_of_a_caller_stays_open() -> None:
    from trainguard.facts.intent import Intent
    from trainguard.gather.stdin import stdin_evidence

    stream = io.BytesIO(SOURCE.encode())
    assert len(list(stdin_evidence(stream, None, Intent()))) == 1
    assert not stream.closed
