"""Parameters of a loss: read off dataclasses and functions, and checked against what a spec gives."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, make_dataclass
from typing import Annotated, Any, ClassVar

import pytest

from prefd.plugins.schema import LossDefinitionError, Range, problems, schema_of
from prefd.plugins.types import LossInput, LossOutput, declare, reference_free

DECLARED = ("needs_reference", "batch_independent", "preference")


@dataclass(frozen=True)
class Fancy:
    """A fancy loss.

    With a second paragraph.
    """

    beta: Annotated[float, Range(above=0, at_most=1)] = 0.1
    rounds: int = 3
    soft: bool = False
    mode: str = "a"


def test_dataclass_fields_are_the_schema() -> None:
    schema = schema_of("fancy", Fancy)
    assert schema.params["beta"] == {"type": "number", "default": 0.1, "exclusiveMinimum": 0, "maximum": 1}
    assert {name: param["type"] for name, param in schema.params.items()} == {
        "beta": "number",
        "rounds": "integer",
        "soft": "boolean",
        "mode": "string",
    }
    assert schema.needs_reference
    assert schema.summary == "A fancy loss."


def test_keyword_only_arguments_of_a_function_are_the_schema() -> None:
    @reference_free
    def plain(x: LossInput, *, tau: Annotated[float, Range(at_least=0)] = 1.0) -> LossOutput:
        """A plain function."""
        raise NotImplementedError

    schema = schema_of("plain", plain)
    assert schema.params == {"tau": {"type": "number", "default": 1.0, "minimum": 0}}
    assert not schema.needs_reference


def test_a_text_beside_the_type_describes_a_parameter_and_the_last_one_counts() -> None:
    strength = Annotated[float, Range(above=0), "how strong it is"]
    kinds = [
        ("beta", strength, 0.1),
        ("gamma", Annotated[strength, "how late it is"], 1.0),
        ("soft", Annotated[bool, "whether"], True),
    ]
    loss_class = make_dataclass("Made", kinds, namespace={"__doc__": "A loss.", "purpose": "to test"})
    schema = schema_of("made", loss_class)
    assert {name: param["description"] for name, param in schema.params.items()} == {
        "beta": "how strong it is",
        "gamma": "how late it is",
        "soft": "whether",
    }
    assert schema.params["gamma"]["exclusiveMinimum"] == 0
    assert (schema.purpose, schema_of("fancy", Fancy).purpose) == ("to test", "")


@pytest.mark.parametrize(
    ("parameters", "parameter", "message"),
    [
        ({"beta": 0}, "beta", "must be above 0, got 0"),
        ({"beta": 1.5}, "beta", "must be at most 1, got 1.5"),
        ({"beta": float("nan")}, "beta", "expected a number, got nan"),
        ({"beta": "0.1"}, "beta", "expected a number, got '0.1'"),
        ({"beta": True}, "beta", "expected a number, got True"),
        ({"rounds": 1.5}, "rounds", "expected an integer, got 1.5"),
        ({"soft": 1}, "soft", "expected a boolean, got 1"),
        ({"bta": 0.1}, "bta", "unknown parameter; did you mean beta?"),
        ({"zzz": 0.1}, "zzz", "unknown parameter; known: beta, rounds, soft, mode"),
    ],
)
def test_each_fault_is_named_with_its_remedy(parameters: dict[str, Any], parameter: str, message: str) -> None:
    assert problems(schema_of("fancy", Fancy).params, parameters) == [(parameter, message)]


def test_values_within_bounds_pass() -> None:
    assert problems(schema_of("fancy", Fancy).params, {"beta": 1, "rounds": 2, "soft": True, "mode": "b"}) == []


def test_definitions_that_cannot_be_a_schema_are_refused() -> None:
    class NotADataclass:
        """Doc."""

    @dataclass
    class NoDefault:
        """Doc."""

        beta: float

    @dataclass
    class OddType:
        """Doc."""

        betas: list[float] | None = None

    def undocumented(x: LossInput) -> LossOutput:
        raise NotImplementedError

    with pytest.raises(LossDefinitionError, match="must be a dataclass"):
        schema_of("a", NotADataclass)
    with pytest.raises(LossDefinitionError, match="'beta': it needs a default"):
        schema_of("b", NoDefault)
    with pytest.raises(LossDefinitionError, match="'betas': its type must be one of"):
        schema_of("c", OddType)
    for word in ("name", "weight"):
        loss_class = make_dataclass("Taken", [(word, float, 1.0)], namespace={"__doc__": "Doc."})
        with pytest.raises(LossDefinitionError, match=f"'{word}': the spec's `loss:` block uses '{word}' itself"):
            schema_of("e", loss_class)
    with pytest.raises(LossDefinitionError, match="needs a docstring"):
        schema_of("d", undocumented)


def test_what_a_loss_declares_is_read_off_it() -> None:
    @declare(needs_reference=False, batch_independent=False, preference=False)
    def odd(x: LossInput) -> LossOutput:
        """Declares everything."""
        raise NotImplementedError

    @dataclass(frozen=True)
    class Sorts:
        """Declares one thing."""

        batch_independent: ClassVar[bool] = False

    assert {name: getattr(schema_of("odd", odd), name) for name in DECLARED} == dict.fromkeys(DECLARED, False)
    assert {name: getattr(schema_of("fancy", Fancy), name) for name in DECLARED} == dict.fromkeys(DECLARED, True)
    assert not schema_of("sorts", Sorts).batch_independent
    assert schema_of("sorts", Sorts).params == {}


class TestDefaults:
    """What a dataclass's own author gets wrong is told when it is registered, before any job."""

    @pytest.mark.parametrize(
        ("annotation", "value", "message"),
        [
            (Annotated[float, Range(above=0)], 0.0, "the default of beta must be above 0, got 0.0"),
            (float, "x", "the default of beta expected a number, got 'x'"),
            (bool, 1, "the default of beta expected a boolean, got 1"),
            (float, math.nan, "the default of beta expected a number, got nan"),
            (Annotated[float, Range(at_most=1)], math.inf, "the default of beta must be at most 1, got inf"),
            (float, field(default=1.0, init=False), "a spec could not set it .init=False.; make it a ClassVar"),
            (float, field(default_factory=lambda: 1 / 0), "its default_factory raised ZeroDivisionError"),
        ],
    )
    def test_a_default_that_cannot_be_meant_is_refused(self, annotation: Any, value: Any, message: str) -> None:
        loss = make_dataclass("Wrong", [("beta", annotation, value)], namespace={"__doc__": "Doc."})
        with pytest.raises(LossDefinitionError, match=message):
            schema_of("wrong", loss)

    def test_a_default_factory_gives_the_default(self) -> None:
        loss = make_dataclass(
            "Made", [("beta", float, field(default_factory=lambda: 0.5))], namespace={"__doc__": "D."}
        )
        assert schema_of("made", loss).params["beta"]["default"] == 0.5

    def test_infinity_may_stand_for_no_limit(self) -> None:
        loss = make_dataclass("Open", [("limit", float, math.inf)], namespace={"__doc__": "Doc."})
        assert schema_of("open", loss).params["limit"]["default"] == math.inf
