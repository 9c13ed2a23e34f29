"""A comparison is the one that `prefd compare` prints."""

from __future__ import annotations

import json

from prefd.daemon.home.layout import Home
from prefd.daemon.machine.files import read_json, write_json
from support import homes
from support.page_api import asking


def test_it_is_what_the_command_prints(ready_home: Home) -> None:
    homes.add_done(ready_home, name="slow", training={"learning_rate": 1e-5})
    best = homes.add_done(ready_home, name="best", training={"load_best_model_at_end": True})
    homes.add_running(ready_home, name="runs", loss={"name": "sigmoid"})
    homes.add_queued(ready_home, name="waits")
    outcome = ready_home.job(best.id) / "training.json"
    document = read_json(outcome)
    document["summary"]["adapter_step"] = 6
    write_json(outcome, document)
    with (ready_home.job(3) / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "eval_loss": NaN, "eval_rewards/margins": 0.5}\n')
    with asking(ready_home) as http:
        answer = http.get("/v1/compare?ids=1,2,3,4,2").json()
        printed = json.loads(homes.invoke(ready_home, "compare", 1, 2, 3, 4, "--json").stdout)
        assert {"schema": 1, **answer} == printed
        assert [job["evaluated_at_step"] for job in answer["jobs"]] == [12, 6, 4, None]
        assert http.get("/v1/compare?ids=1,9").status_code == 404
        assert http.get("/v1/compare").status_code == 422
