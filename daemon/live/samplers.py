"""Opens samplers: the base model or saved weights, answered by the worker of a model that is there already, where one is."""

from __future__ import annotations

from prefd.daemon.live.checkpoints import parse_path
from prefd.daemon.live.models import Models, read_session
from prefd.daemon.live.refusal import RefusedCall
from prefd.daemon.live.sessions import MAX_SAMPLERS, OpenSampler, Session, check_room


async def open_sampler(
    models: Models, session: Session, sampler_id: str, base_model: str | None, model_path: str | None
) -> OpenSampler:
    """Open a sampler, or return the one that was opened under this id, and keep it. Raises RefusedCall, OSError.

    Saved weights are answered by the model that saved them while its session is open, and the base model by any model of the
    session with the same base: so no second model is loaded.
    """
    if (earlier := session.samplers.get(sampler_id)) is not None:
        if (earlier.base_model, earlier.model_path) != (base_model or earlier.base_model, model_path):
            raise RefusedCall(
                422, f"sampling session {sampler_id} was made before of other weights: each needs its own number"
            )
        return earlier
    check_room(session.samplers, MAX_SAMPLERS, "samplers")
    if model_path is None:
        sampler = await _open_base(models, session, sampler_id, base_model)
    else:
        sampler = await _open_weights(models, session, sampler_id, model_path)
    session.samplers[sampler_id] = sampler
    models.sessions.keep(session)
    return sampler


async def _open_base(models: Models, session: Session, sampler_id: str, base_model: str | None) -> OpenSampler:
    if base_model is None:
        raise RefusedCall(400, "a sampling session needs `base_model` or `model_path`")
    models.locate(base_model)
    for model_id in session.models:
        model = await models.find(model_id)
        if model.read_session()["base_model"] == base_model and not (await models.jobs.look(model.job_id)).ended:
            return OpenSampler(model_id, base_model)
    await models.open(session, sampler_id, base_model, content=sampler_id.encode())
    return OpenSampler(sampler_id, base_model)


async def _open_weights(models: Models, session: Session, sampler_id: str, model_path: str) -> OpenSampler:
    path = parse_path(model_path)
    folder = models.find_folder(path.model_id)
    target = path.locate(folder)
    if path.kind != "sampler_weights" or not target.is_dir():
        raise RefusedCall(404, f"there is no checkpoint {model_path} to sample from")
    base_model = str(read_session(folder, path.model_id)["base_model"])
    job_id = session.models.get(path.model_id)
    if job_id is not None and not (await models.jobs.look(job_id)).ended:
        return OpenSampler(path.model_id, base_model, model_path, str(target))
    await models.open(session, sampler_id, base_model, content=sampler_id.encode())
    return OpenSampler(sampler_id, base_model, model_path, str(target))
