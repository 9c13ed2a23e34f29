import pytest

from prefd.daemon.text.wording import clip, compose, find_nearest, format_path, format_value

FIELDS = ["learning_rate", "batch_size", "gradient_accumulation_steps", "epochs", "iters", "num_layers", "seed"]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("lr", "learning_rate"),
        ("learning-rate", "learning_rate"),
        ("learningrate", "learning_rate"),
        ("batchsize", "batch_size"),
        ("epoch", "epochs"),
        ("accumulation_steps", "gradient_accumulation_steps"),
        ("iter", "iters"),
        ("eval_batch_size", None),
        ("numlayers", "num_layers"),
        ("lerning_rate", "learning_rate"),
        ("learning_weight", None),
        ("batch_sizes", "batch_size"),
        ("colour", None),
        ("", None),
        ("x" * 100_000, None),
    ],
)
def test_nearest_name_by_spelling_initials_or_part(written: str, meant: str | None) -> None:
    assert find_nearest(written, FIELDS) == meant


@pytest.mark.parametrize(
    ("written", "names", "meant"),
    [
        ("system_feature", ["prompt_feature", "chosen_feature", "rejected_feature"], None),
        ("context_feature", ["prompt_feature", "chosen_feature", "rejected_feature"], None),
        ("choosen_feature", ["prompt_feature", "chosen_feature", "rejected_feature"], "chosen_feature"),
        ("max_prompt_length", ["max_length"], None),
        ("min_length", ["max_length"], None),
        ("delta", ["beta"], None),
        ("ref_model", ["model", "reference"], None),
        ("steps_per_save", ["steps_per_eval", "steps_per_report"], None),
        ("paht", ["path", "split"], "path"),
        ("schedule", ["lr_schedule", "learning_rate"], "lr_schedule"),
        ("Batch-Size", ["batch_size"], "batch_size"),
    ],
)
def test_a_name_that_is_only_alike_is_another_name(written: str, names: list[str], meant: str | None) -> None:
    assert find_nearest(written, names) == meant


def test_text_is_clipped_to_one_printable_line() -> None:
    assert clip("a\nb\x1b[31mc") == "a b [31mc"
    assert clip("x" * 1000, 10) == "x" * 9 + "…"


def test_values_are_shown_as_a_spec_writes_them() -> None:
    assert [format_value(value) for value in ("many", 3, None, True, [1], {"a": 1})] == [
        '"many"', "3", "null", "true", "a list", "a mapping",
    ]  # fmt: skip
    assert len(format_value("y" * 10_000)) < 70


def test_paths_are_dotted() -> None:
    assert format_path(("training", "lora", "keys", 0)) == "training.lora.keys[0]"


def test_a_name_from_finder_is_the_one_that_is_typed() -> None:
    assert compose("e\u0301tude") == "\u00e9tude"
