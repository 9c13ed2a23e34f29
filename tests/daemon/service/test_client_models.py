"""A client's model becomes a job once, with the file that its worker reads."""

from __future__ import annotations

import json
from pathlib import Path

from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.table import JobTable
from prefd.daemon.queue.supervisor import plan_phases
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.service.client_models import open_model
from prefd.daemon.specs.catalog import Catalog
from prefd.daemon.specs.live_spec import ClientLora, LiveModel
from prefd.daemon.worker_tasks.live_requests import LiveSession

SESSION = "0123456789abcdef" * 2
MODEL = LiveModel(
    session_id=SESSION,
    model_id=f"{SESSION}:train:0",
    base_model="local/a",
    model="/models/a",
    lora=ClientLora(rank=4, seed=7),
    user_metadata={"run": "a"},
)


def test_a_clients_model_is_one_job_with_the_session_that_its_worker_reads(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    with JobTable.open(home.database) as table:
        job = open_model(home, table, MODEL)
        again = open_model(home, table, MODEL)
        assert (again.id, job.name, job.group, job.state) == (job.id, "local/a", "live", "queued")
        spec = table.spec(job.id)
        assert spec.live == MODEL.make_live_spec()
        assert plan_phases(spec, Catalog({}, [])) == ["live"]
        content = RunDir(home.job(job.id)).live.session.read_text()
        assert LiveSession.model_validate_json(content).model_id == MODEL.model_id
        session = json.loads(content)
        assert session["lora"] == {"rank": 4, "seed": 7, "train_mlp": True, "train_attn": True, "train_unembed": True}
        assert session["user_metadata"] == {"run": "a"}
        assert (session["model"], session["model_id"]) == ("/models/a", f"{SESSION}:train:0")
