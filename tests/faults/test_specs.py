"""The specs with settings of other trainers that ../shared/faults has: each is answered with what it means here."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefd.daemon.specs.catalog import Catalog
from prefd.daemon.specs.reading import SpecFile, read_specs
from prefd.daemon.specs.spec_error import SpecError
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.models.source import ModelSource
from prefd.plugins.manager import load_plugins
from support import tiny_model as tiny
from support.fault_cases import CASES, maker
from support.jobs_on_disk import finished, make_job
from support.paths import FAULTS
from support.thinned import thin

pytestmark = pytest.mark.skipif(not CASES.exists(), reason="the faults are not here")


def read(name: str, model: Path) -> SpecFile:
    path = FAULTS / "41-specs" / name
    text = path.read_text().replace("MODELS/chatml", str(model))
    return read_specs(text.encode(), name, CATALOG, path.parent)


CATALOG = Catalog.from_json(load_plugins().to_json())


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("dpo.yaml", "loss.name: no loss is called 'dpo'; DPO's loss is `sigmoid`; known: "),
        ("orpo.yaml", "loss.name: no loss is called 'orpo'; contrib/prefd-trl-losses, a plugin, brings orpo; known: "),
        ("flat-orpo.yaml", "line 3: train_mode: must be dpo or cpo; got \"orpo\""),
        ("alpha.yaml", "training.lora.alpha: unknown key; mlx-lm has a scale in its place, alpha / rank: training.lora.scale"),
        ("maxprompt.yaml", "data.max_prompt_length: unknown key; data.max_length bounds prompt and answer together"),
        ("lrstr.yaml", 'training.learning_rate: expected a number, got "5e-6" (take the quotes away)'),
    ],
)  # fmt: skip
def test_what_it_says_is_what_it_means_here(tiny_model: Path, name: str, line: str) -> None:
    with pytest.raises(SpecError) as raised:
        read(name, tiny_model)
    (message,) = raised.value.lines
    assert line in message
    assert "did you mean" not in message


def test_pefts_names_of_modules_train_what_they_train_there(home: Path, tiny_model: Path) -> None:
    spec = read("target.yaml", tiny_model).spec.model_dump(exclude_unset=True)
    running_job = finished(make_job(home, **spec))
    adapted = ModelSource(str(tiny_model), adapter=running_job.run.adapter)
    names = {name for name, module in loading.load(adapted).named_modules() if "lora_a" in module}
    assert names == {f"model.layers.{layer}.self_attn.{key}" for layer in (0, 1) for key in ("q_proj", "v_proj")}


OFTEN = ("nvfp4-keepq.yaml", "full.yaml", "absent")
"""daemon/worker/models/test_loading.py has LoRA and DoRA that are dequantized, outputs/test_fuse_tensors.py experts of every type."""
FUSED = thin(sorted(path.name for path in (FAULTS / "27-mxfp4").glob("*.yaml")) or ["absent"], OFTEN.__contains__)


@pytest.mark.parametrize("name", FUSED)
def test_fused_models_of_quantized_bases_are_what_they_claim(home: Path, tmp_path: Path, name: str) -> None:
    import mlx_lm

    from support.adapters import apart, logits

    text = (CASES / "27-mxfp4" / name).read_text()
    made_for_it = maker(tmp_path)
    model = tiny.build(tmp_path / "plain", tiny.QWEN3_MOE) if "moe" in name else made_for_it("chatml")
    mode = next(
        (each for each in ("mxfp4", "mxfp8", "nvfp4", "affine") if each in name), "mxfp4" if "moe" in name else None
    )
    if mode is not None:
        model = tiny.quantized(model, tmp_path / "base", mode)
    named = text.splitlines()[0].removeprefix("model: ")
    path = FAULTS / "27-mxfp4" / "pairs.jsonl"
    changed = text.replace(named, str(model), 1).replace("./pairs.jsonl", str(path))
    running_job = make_job(home, **read_specs(changed.encode(), name).spec.model_dump(exclude_unset=True))
    try:
        finished(running_job)
    except JobError as error:
        pytest.fail(str(error))
    fused = mlx_lm.load(str(running_job.run.fused))[0]
    whole = mlx_lm.load(str(model), adapter_path=str(running_job.run.adapter))[0]
    base = mlx_lm.load(str(model))[0]
    lost, effect = apart(logits(fused), logits(whole)), apart(logits(base), logits(whole))
    assert lost < (1e-5 if "dequantize: true" in text or mode is None else effect)
