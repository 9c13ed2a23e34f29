import errno
import json
import os
import random
from datetime import date, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefd.daemon.specs import reading
from prefd.daemon.specs.data_spec import DataSpec
from prefd.daemon.specs.edited_spec import change_settings
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.specs.loss_faults import check_loss
from prefd.daemon.specs.reading import SUFFIXES, load_specs, read_spec, read_specs
from prefd.daemon.specs.spec_error import SpecError
from prefd.daemon.specs.training_spec import TrainingSpec
from prefd.daemon.text.text_fault import Position, TextFault
from support import fake_worker

GOOD = """
model: org/name
data: {path: org/pairs}
loss: {name: ipo, beta: 1e-1}
training:
  learning_rate: 1e-5
  lora: {rank: 8}
"""


def list_faults(text: str | bytes, name: str = "job.yaml") -> list[str]:
    with pytest.raises(SpecError) as caught:
        read_spec(text if isinstance(text, bytes) else text.encode(), name)
    assert str(caught.value) == "\n".join(caught.value.lines)
    return [line.removeprefix(f"{name}: ") for line in caught.value.lines]


def test_a_spec_is_named_after_its_file_unless_it_names_itself() -> None:
    assert read_spec(GOOD.encode(), "smol-ipo.yaml").name == "smol-ipo"
    assert read_spec(("name: mine\n" + GOOD).encode(), "smol-ipo.yaml").name == "mine"


def test_numbers_keep_their_types() -> None:
    spec = read_spec(GOOD.encode(), "a.yaml")
    assert spec.training is not None
    assert spec.training.learning_rate == 1e-5
    assert spec.loss.params == {"beta": 0.1}


def change(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (change("learning_rate", "lr"), ["line 6: training.lr: unknown key; did you mean training.learning_rate?"]),
        (GOOD + "beta: 0.1\n", ["line 8: beta: unknown key; it is a parameter of the loss: loss: {name: …, beta: …}, in a sweep loss.beta (`prefd losses NAME` lists a loss's own)"]),
        (GOOD + "learning_rate: 0.1\n", ["line 8: learning_rate: unknown key; did you mean training.learning_rate?"]),
        (change("rank: 8", "rank: 8, alpha: 16"), ["line 7: training.lora.alpha: unknown key; mlx-lm has a scale in its place, alpha / rank: training.lora.scale"]),
        (change("rank: 8", "rank: many"), ['line 7: training.lora.rank: expected a whole number, got "many"']),
        (change("rank: 8", "rank: '8'"), ['line 7: training.lora.rank: expected a whole number, got "8" (take the quotes away)']),
        (change("rank: 8", "rank: 8.5"), ["line 7: training.lora.rank: expected a whole number, got 8.5"]),
        (change("rank: 8", "rank: 0"), ["line 7: training.lora.rank: must be greater than or equal to 1, got 0"]),
        (change("rank: 8", "rank: true"), ["line 7: training.lora.rank: expected a whole number, got true"]),
        (change("rank: 8", "keys: [1, a]"), ["line 7: training.lora.keys[0]: expected text, got 1"]),
        (change("{rank: 8}", "[8]"), ["line 7: training.lora: expected a mapping, got a list"]),
        (change("1e-5", "fast"), ['line 6: training.learning_rate: expected a number, got "fast"']),
        (change("1e-5", "-1"), ["line 6: training.learning_rate: must be greater than 0, got -1"]),
        (change("1e-5", ".nan"), ["line 6: training.learning_rate: expected a finite number, got nan"]),
        (change("model: org/name", "model: 3"), ["line 2: model: expected text, got 3"]),
        (change("model: org/name", "model:"), ["line 2: model: expected text, and nothing is there: HF id or folder; the policy starts here"]),
        (change("model: org/name\n", ""), ["model: missing: HF id or folder; the policy starts here"]),
        (change("data: {path: org/pairs}", "data: pairs.jsonl"), ['line 3: data: expected a mapping, got "pairs.jsonl"; write {path: pairs.jsonl}']),
        (change("path: org/pairs", "path: p, validation: 1.5"), ["line 3: data.validation: must be less than 1, got 1.5"]),
        (change("path: org/pairs", "path: p, validation: [1]"), ["line 3: data.validation: expected a number or text, got a list"]),
        (change("lora: {", "fine_tune: qlora\n  lora: {"), ["line 7: training.fine_tune: must be 'lora', 'dora' or 'full', got \"qlora\"; QLoRA is lora with training.quantize: {bits: 4}"]),
        (change("learning_rate: 1e-5", "epochs: 1\n  iters: 5"), ["line 7: training.iters: give training.epochs or training.iters, not both"]),
        ("name: \"a\\nb\"\n" + GOOD, ['line 1: name: must be printable and on one line, got "a b"']),
        (change("lora", "x") + "y: 1\n", [f"line 7: training.x: unknown key; known here: {', '.join(TrainingSpec.model_fields)}",
            f"line 8: y: unknown key; known here: {', '.join(JobSpec.model_fields)}"]),
    ],
)  # fmt: skip
def test_each_fault_is_one_line_with_its_path_and_remedy(text: str, lines: list[str]) -> None:
    assert list_faults(text) == lines


def test_json_and_toml_get_the_same_messages_with_lines() -> None:
    text = json.dumps({"model": "org/name", "data": {"path": "p"}, "training": {"lr": 1}}, indent=1)
    assert list_faults(text, "job.json") == ["line 7: training.lr: unknown key; did you mean training.learning_rate?"]
    assert list_faults('model = "m"\n[data]\npaht = "p"\n', "job.toml") == [
        f"line 2: data.path: missing: {DataSpec.model_fields['path'].description}",
        "line 3: data.paht: unknown key; did you mean data.path?",
    ]


def test_each_fault_is_in_parts_for_a_program() -> None:
    with pytest.raises(SpecError) as caught:
        read_spec(b'model = "m"\n[data]\npath = 3\n[loss]\n  beta = 1\n', "job.toml")
    missing = "missing: which loss; `prefd losses` lists them, and DPO's is sigmoid"
    assert caught.value.faults == (
        TextFault("expected text, got 3", "data.path", Position(3, 1)),
        TextFault(missing, "loss.name", Position(4, 2)),
    )
    assert caught.value.file == "job.toml"


def test_a_fault_of_a_text_that_prefd_wrote_has_no_line(tmp_path: Path) -> None:
    current = read_spec(GOOD.encode(), "job.yaml")
    with pytest.raises(SpecError) as caught:
        change_settings(current, {"priority": "high"})
    assert str(caught.value) == 'priority: expected a whole number, got "high"'


def test_another_suffix_is_refused_with_the_ones_there_are() -> None:
    with pytest.raises(SpecError, match=r"^job\.txt: a spec's name ends in \.yaml, \.yml, \.toml or \.json$"):
        read_spec(GOOD.encode(), "job.txt")


def test_ten_megabytes_are_refused_unread() -> None:
    assert list_faults(b"a: 1\n" * 2_000_000) == ["larger than 256 KiB: not a job spec"]


def read_or_refuse(data: bytes, name: str) -> None:
    """Anything else than a spec or whole lines that name the file fails the test."""
    lines: tuple[str, ...] = ()
    try:
        assert isinstance(read_spec(data, name), JobSpec)
    except SpecError as error:
        lines = error.lines
    assert all(line.startswith(f"{name}: ") and line.isprintable() for line in lines)


@settings(max_examples=50)
@given(st.binary(max_size=200), st.sampled_from(SUFFIXES))
def test_any_bytes_give_a_spec_or_a_spec_error(data: bytes, suffix: str) -> None:
    read_or_refuse(data, f"x{suffix}")


def test_any_spec_cut_or_garbled_anywhere_gives_a_spec_or_a_spec_error() -> None:
    dice = random.Random(0)
    whole = {"job.yaml": GOOD.encode(), "job.json": read_spec(GOOD.encode(), "a.yaml").model_dump_json().encode()}
    for name, data in whole.items():
        for _ in range(300):
            garbled = bytearray(data[: dice.randrange(len(data) + 1)])
            for _ in range(dice.randrange(3)):
                if garbled:
                    garbled[dice.randrange(len(garbled))] = dice.randrange(256)
            read_or_refuse(bytes(garbled), name)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2)
    | st.dictionaries(st.sampled_from(["name", "model", "path", "rank", "keys", "lora", "validation", "x"]), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
FIELDS = st.sampled_from(["name", "model", "adapter", "reference", "data", "loss", "training", "other"])


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])  # of a machine that is busy
@given(st.dictionaries(FIELDS, JSON))
def test_any_values_in_the_fields_give_a_spec_or_a_spec_error(value: dict[str, object]) -> None:
    read_or_refuse(json.dumps(value).encode(), "x.json")


# --- the loss


def loss_faults(loss: dict[str, object]) -> list[str]:
    spec = JobSpec.model_validate({"model": "m", "data": {"path": "p"}, "loss": loss})
    with pytest.raises(SpecError) as caught:
        check_loss(spec, fake_worker.catalog())
    return list(caught.value.lines)


def test_an_unknown_loss_gets_the_near_miss_and_the_known_ones() -> None:
    assert loss_faults({"name": "sigmiod"}) == [
        "loss.name: no loss is called 'sigmiod'; did you mean sigmoid? known: cpo, dpop, ipo, sigmoid"
    ]


def test_an_unknown_loss_may_be_a_failed_plugins() -> None:
    value = json.loads(json.dumps(fake_worker.CATALOG))
    value["plugins"][0] |= {"name": "mine", "error": "ImportError: no module named x"}
    spec = JobSpec.model_validate({"model": "m", "data": {"path": "p"}, "loss": {"name": "other"}})
    with pytest.raises(SpecError, match=r"\(plugin mine failed: ImportError: no module named x\)$"):
        check_loss(spec, fake_worker.catalog(value))


@pytest.mark.parametrize(
    ("loss", "line"),
    [
        ({"name": "ipo", "bta": 1.0}, "loss.bta: unknown parameter; did you mean beta? (ipo)"),
        ({"name": "ipo", "beta": 0}, "loss.beta: must be above 0, got 0 (ipo)"),
        ({"name": "dpop", "delta": -1.0}, "loss.delta: must be at least 0, got -1.0 (dpop)"),
        ({"name": "ipo", "beta": "big"}, "loss.beta: expected a number, got 'big' (ipo)"),
        ({"name": "ipo", "length_normalize": 1}, "loss.length_normalize: expected a boolean, got 1 (ipo)"),
    ],
)
def test_a_loss_parameter_is_checked_against_the_catalogue(loss: dict[str, object], line: str) -> None:
    assert loss_faults(loss) == [line]


MIXTURES = {
    "job.yaml": "model: m\ndata: {path: p}\nloss: [{name: ipo, weight: 1}, {name: cpo, beta: 0.2, weight: 0.5}]\n",
    "job.json": '{"model": "m", "data": {"path": "p"}, "loss": [{"name": "ipo"}, {"name": "cpo", "beta": 0.2, "weight": 0.5}]}',
    "job.toml": 'model = "m"\ndata.path = "p"\n[[loss]]\nname = "ipo"\n[[loss]]\nname = "cpo"\nbeta = 0.2\nweight = 0.5\n',
}


@pytest.mark.parametrize("name", MIXTURES)
def test_a_mixture_is_a_list_of_losses_with_weights(name: str) -> None:
    spec = read_spec(MIXTURES[name].encode(), name, fake_worker.catalog())
    assert [(place, loss.name, loss.factor, loss.params) for place, loss in spec.losses.items()] == [
        ("loss[0]", "ipo", 1.0, {}),
        ("loss[1]", "cpo", 0.5, {"beta": 0.2}),
    ]
    assert JobSpec.model_validate_json(spec.model_dump_json()) == spec


def test_a_job_that_was_frozen_with_one_loss_is_read_as_before() -> None:
    frozen = (
        b'{"name": "a", "model": "m", "data": {"path": "p"}, "loss": {"name": "ipo", "beta": 0.1}, "training": null}'
    )
    spec = JobSpec.model_validate_json(frozen)
    assert [(place, loss.name, loss.factor, loss.params) for place, loss in spec.losses.items()] == [
        ("loss", "ipo", 1.0, {"beta": 0.1})
    ]
    assert spec.model_dump(mode="json")["loss"] == {"name": "ipo", "beta": 0.1}


@pytest.mark.parametrize(
    ("loss", "lines"),
    [
        ("[]", ["line 3: loss: must have at least 1 item after validation, not 0, got a list"]),
        ("dpo", ['line 3: loss: expected a mapping, got "dpo"; write {name: …} (DPO\'s loss is `sigmoid`)']),
        ("ipo", ['line 3: loss: expected a mapping, got "ipo"; write {name: ipo}']),
        ("{beta: 1}", ["line 3: loss.name: missing: which loss; `prefd losses` lists them, and DPO's is sigmoid"]),
        ("{name: ipo, weight: 2}", ["line 3: loss.weight: unknown parameter; known: beta, length_normalize (ipo)"]),
        ("[{beta: 1}]", ["line 3: loss[0].name: missing: which loss; `prefd losses` lists them, and DPO's is sigmoid"]),
        ("[ipo]", ['line 3: loss[0]: expected a mapping, got "ipo"; write {name: ipo}']),
        ("[{name: ipo}, {name: cpo, weight: 0}]", ["line 3: loss[1].weight: must be greater than 0, got 0"]),
        ("[{name: ipo, weight: big}]", ['line 3: loss[0].weight: expected a number, got "big"']),
        (
            "[{name: ipo, bta: 1}, {name: sigmiod}]",
            [
                "line 3: loss[0].bta: unknown parameter; did you mean beta? (ipo)",
                "line 3: loss[1].name: no loss is called 'sigmiod'; did you mean sigmoid? known: cpo, dpop, ipo, sigmoid",
            ],
        ),
        (
            "[{name: ipo, weight: -1}, {name: cpo, beta: 0}]",
            [
                "line 3: loss[0].weight: must be greater than 0, got -1",
                "line 3: loss[1].beta: must be above 0, got 0 (cpo)",
            ],
        ),
    ],
)
def test_each_fault_of_a_mixture_is_told_with_its_place(loss: str, lines: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        read_spec(f"model: m\ndata: {{path: p}}\nloss: {loss}\n".encode(), "a.yaml", fake_worker.catalog())
    assert [line.removeprefix("a.yaml: ") for line in caught.value.lines] == lines


# --- what it points to


def test_a_valid_spec_has_absolute_paths(tmp_path: Path) -> None:
    fake_worker.spec_text(tmp_path)
    text = b"model: model\ndata: {path: pairs.jsonl}\n"
    spec = read_specs(text, "a.yaml", fake_worker.catalog(), tmp_path).spec
    assert (spec.model, spec.data.path) == (str(tmp_path / "model"), str(tmp_path / "pairs.jsonl"))


def test_load_spec_reads_a_file_beside_its_sources(tmp_path: Path) -> None:
    fake_worker.spec_text(tmp_path)
    (tmp_path / "a.yaml").write_text("model: ./model\ndata: {path: pairs.jsonl}\n")
    assert load_specs(tmp_path / "a.yaml", fake_worker.catalog()).spec.data.path == str(tmp_path / "pairs.jsonl")


def test_load_spec_says_what_it_cannot_read(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "none.yaml", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(SpecError, match=why):
            load_specs(path, fake_worker.catalog())


def test_a_path_that_no_system_takes_is_an_error_of_the_spec(tmp_path: Path) -> None:
    for model in ("~nobody-here/model", "x" * 5000):
        text = json.dumps({"model": model, "data": {"path": "p"}})
        with pytest.raises(SpecError):
            read_specs(text.encode(), "a.json", fake_worker.catalog(), tmp_path)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EMFILE])
def test_a_source_that_may_not_be_looked_at_is_the_specs_fault_and_a_machine_in_trouble_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object) -> list[str]:
        raise OSError(code, os.strerror(code), "/secret/model")

    monkeypatch.setattr(reading, "faults_of_sources", refuse)
    kind = SpecError if code == errno.EACCES else OSError
    with pytest.raises(kind, match=os.strerror(code)):
        read_specs(GOOD.encode(), "a.yaml", fake_worker.catalog(), tmp_path)


def test_every_error_is_told_at_once_the_losss_too(tmp_path: Path) -> None:
    text = "model: m\nmodle: m\ndata: {path: p, max_lenth: 5}\nloss: {name: ipo, bta: 1}\n"
    with pytest.raises(SpecError) as caught:
        read_specs(text.encode(), "a.yaml", fake_worker.catalog(), tmp_path)
    all_lines = "\n".join(caught.value.lines)
    for part in (
        "modle: unknown key",
        "data.max_lenth: unknown key",
        "loss.bta: unknown parameter; did you mean beta?",
    ):
        assert part in all_lines


def test_a_moment_is_text_in_yaml_and_a_date_in_toml() -> None:
    yaml = read_spec(b"model: org/name\ndata: {path: p}\nnot_before: 2026-11-23 02:00\nafter: [3]\n", "a.yaml")
    toml = read_spec(
        b'model = "org/name"\nnot_before = 2026-11-23 02:00:00\nafter = [3]\n[data]\npath = "p"\n', "a.toml"
    )
    assert yaml.starts_at == toml.starts_at == datetime(2026, 11, 23, 2).timestamp()
    assert yaml.after == [3]
    assert JobSpec.model_validate_json(toml.model_dump_json()) == toml


def test_tomls_own_dates_are_taken_and_its_times_told() -> None:
    rest = 'model = "org/name"\ndata = {path = "p"}\n'
    day = read_spec(f"not_before = 2026-11-23\n{rest}".encode(), "a.toml")
    assert day.starts_at == datetime(2026, 11, 23).timestamp()
    with pytest.raises(SpecError, match=r"a time of day alone, or [+]3h, is for `--not-before`"):
        read_spec(f"not_before = 02:00:00\n{rest}".encode(), "a.toml")


def test_a_moment_is_handed_on_with_its_offset_and_said(tmp_path: Path) -> None:
    text = b"model: org/name\ndata: {path: org/pairs, date: today}\nnot_before: 2999-01-01 02:00\n"
    file = read_specs(text, "a.yaml", None, tmp_path)
    moment = datetime(2999, 1, 1, 2).astimezone().isoformat(" ", "minutes")
    assert file.spec.not_before == moment
    assert file.notes == (f"not_before: 2999-01-01 02:00 has no offset: it is {moment}, in the local time here",)
    assert file.document()["not_before"] == moment
    assert file.document()["data"]["date"] == date.today().isoformat()


def test_moments_of_a_sweep_are_handed_on_with_their_offsets(tmp_path: Path) -> None:
    text = b"model: org/name\ndata: {path: org/pairs}\nsweep: {not_before: [2999-01-01 02:00, 2999-01-01 03:00Z]}\n"
    file = read_specs(text, "a.yaml", None, tmp_path)
    assert [spec.not_before for spec in file.specs][1] == "2999-01-01 03:00+00:00"
    assert len(file.notes) == 1
    assert read_specs(json.dumps(file.document()).encode(), "a.json", None, tmp_path).specs == file.specs


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("not_before: tomorrow", "not_before: expected a date and time such as 2026-11-23 02:00 (local) or"),
        ("not_before: 7", "not_before: expected text, got 7"),
        ("after: [0]", "after[0]: must be greater than or equal to 1, got 0"),
        ("after: 3", "after: expected a list, got 3"),
        ("priority: 2000", "priority: must be less than or equal to 1000, got 2000"),
    ],
)
def test_what_a_turn_cannot_be_is_told(line: str, message: str) -> None:
    (fault,) = list_faults(f"model: org/name\ndata: {{path: p}}\n{line}\n")
    assert message in fault
