"""Results that outlive their node: copied in steps from a real file service, verified, and handed out."""

import asyncio
import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.utils import timezone
from rest_framework.test import APIClient

from loraforge.accounts.models import User
from loraforge.artifacts import keeping, removals, resultspool, selectors
from loraforge.artifacts.models import FileLease, OutputFile, ResultCopy, ResultSaving
from loraforge.artifacts.results import Candidate, results_select
from loraforge.artifacts.services import manifest_store
from loraforge.artifacts.tasks import results_save_task, results_sweep_task
from loraforge.artifacts.wishes import SAVE_TASK, results_want
from loraforge.core import events
from loraforge.core.models import OutboxMessage
from loraforge.instances.models import Attempt, Instance, InstanceEvent
from loraforge.nodelink import files as nodefiles
from loraforge.nodes.models import Node, NodeState
from loraforge.training.models import Job
from loraforge.training.resuming import job_resume
from nodeagent.workspace import Workspace
from tests.control.artifacts.conftest import FILES, manifest_of, put
from tests.factories.training import JobFactory

ClientOf = Callable[[User | None], APIClient]
STATES = ("optimizer.pt", "scheduler.pt", "rng_state.pth")
LAST = "output/checkpoint-12"
WHOLE = {
    **FILES,
    "output/logging.jsonl": b'{"loss": 1}\n',
    "events.jsonl": b"",
    **{f"{LAST}/{name}": os.urandom(1000) for name in STATES},
}
BIG = f"{LAST}/adapter_model.safetensors"
State = ResultCopy.State


@pytest.fixture
def instance(attempt: Attempt, workspace: Workspace, settings: Any, tmp_path: Path) -> Instance:
    """An ended job with everything that a resume needs, whose results are wanted."""
    settings.RESULT_FOLDER = tmp_path / "saving"
    put(workspace.job(attempt.instance_id, 1), WHOLE)
    manifest_store(attempt=attempt, files=manifest_of(WHOLE), complete=True)
    results_want(instance=attempt.instance)
    return attempt.instance


def save(instance: Instance, *, limit: int = 100) -> int:
    """Steps until there is nothing more to do at once; how many."""
    ResultSaving.objects.update(next_at=timezone.now())
    for number in range(limit):
        if not keeping.results_step(instance_id=instance.pk).more:
            return number + 1
    raise AssertionError("it does not end")


def copies(instance: Instance) -> dict[str, str]:
    rows = ResultCopy.objects.filter(file__attempt__instance=instance)
    return dict(rows.values_list("file__path", "state"))


def body_of(response: Any) -> bytes:
    async def read() -> bytes:
        return b"".join([piece async for piece in response])

    return asyncio.run(read())


def address(instance: Instance, path: str) -> str:
    return f"/api/v1/jobs/{instance.pk}/artifacts/{path}"


# --- what is kept ---


def candidate(path: str, size: int = 10, *, attempt: int = 2) -> Candidate:
    return Candidate(file_id=hash((attempt, path)), attempt=attempt, path=path, size_bytes=size)


def chosen(*found: Candidate, max_bytes: int = 10**6, **more: Any) -> tuple[list[str], list[str]]:
    names = {one.file_id: one.path for one in found}
    wanted = {"last_attempt": 2, "checkpoints": [(2, "output/checkpoint-9")], **more}
    selection = results_select(found, max_bytes=max_bytes, **wanted)
    return [names[one] for one in selection.kept], [names[one] for one in selection.too_large]


def test_small_things_first_then_weights_then_what_a_resume_needs() -> None:
    folder = "output/checkpoint-9"
    found = [
        candidate(f"{folder}/optimizer.pt", 900),
        candidate(f"{folder}/adapter_model.safetensors", 300),
        candidate(f"{folder}/adapter_config.json"),
        candidate("console.log", 50),
        candidate("output/args.json"),
        candidate("output/checkpoint-3/adapter_model.safetensors"),
        candidate("output/images/loss.png"),
    ]
    everything = [
        "output/args.json", "console.log", f"{folder}/adapter_config.json",
        f"{folder}/adapter_model.safetensors", f"{folder}/optimizer.pt",
    ]  # fmt: skip
    assert chosen(*found) == (everything, [])
    assert chosen(*found, max_bytes=500) == (everything[:4], everything[4:])
    # weights are useless by halves; what is behind them and fits is kept
    assert chosen(*found, max_bytes=305) == (everything[:2], everything[2:])
    assert chosen(*found, max_bytes=0) == ([], everything)
    # and states of a resume are nothing without their weights
    small = [
        candidate(f"{folder}/optimizer.pt", 1),
        candidate(f"{folder}/adapter_model.safetensors"),
    ]
    assert chosen(*small, max_bytes=5)[0] == []


def test_the_last_and_the_best_are_kept_and_logs_of_all_attempts(instance: Instance) -> None:
    save(instance)
    kept = {path for path, state in copies(instance).items() if state == State.KEPT}
    # checkpoint-6 is the best, says the trainer; it has no adapter_config.json, so no weights
    assert kept == {path for path in WHOLE if "checkpoint-6" not in path and "模型" not in path}
    for copy in ResultCopy.objects.select_related("file"):
        with default_storage.open(copy.storage_name) as file:
            assert file.read() == WHOLE[copy.file.path]
    assert ResultSaving.objects.get().done_at is not None
    assert not list(resultspool.path_of(0).parent.iterdir())


# --- how it comes ---


def test_it_comes_in_steps_that_any_process_may_take(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = nodefiles.NodeFile.read
    monkeypatch.setattr(
        nodefiles.NodeFile, "read", lambda self, size=100_000, /: real(self, min(size, 100_000))
    )
    monkeypatch.setattr(keeping, "STEP_S", 0.0)
    offsets = []
    for _number in range(100):
        ResultSaving.objects.update(next_at=timezone.now())
        more = keeping.results_step(instance_id=instance.pk).more
        resultspool._states.clear()  # the next step is another process's
        row = ResultCopy.objects.filter(file__path=BIG).first()
        offsets.append(row.offset_bytes if row is not None else 0)
        if not more:
            break
    assert {100_000 * part for part in range(1, 11)} <= set(offsets)
    assert set(copies(instance).values()) == {State.KEPT}


def test_a_message_that_comes_twice_is_one_step(instance: Instance) -> None:
    held = keeping._lock(instance.pk)
    assert held is not None
    assert not keeping.results_step(instance_id=instance.pk).more
    assert copies(instance) == {}
    ResultSaving.objects.update(locked_until=timezone.now())  # whoever held it died
    save(instance)
    assert ResultSaving.objects.get().done_at is not None


def test_only_some_at_once(instance: Instance, alice: User) -> None:
    for _ in range(keeping.AT_ONCE):
        other = Instance.objects.create(owner=alice, name="x", state="failed", attempt=1)
        results_want(instance=other)
        assert keeping._lock(other.pk) is not None
    assert keeping._lock(instance.pk) is None


def test_a_node_that_goes_away_in_the_middle_is_waited_for(
    instance: Instance, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = nodefiles.NodeFile.read
    left = [3]

    def cut(self: nodefiles.NodeFile, size: int = 400_000, /) -> bytes:
        left[0] -= 1
        if left[0] < 0:
            raise nodefiles._unreachable(self._node)
        return real(self, min(size, 400_000))

    monkeypatch.setattr(nodefiles.NodeFile, "read", cut)
    # the best checkpoint is read too, before anything is copied
    left[0] = 8
    save(instance)
    saving = ResultSaving.objects.get()
    assert (saving.trouble, saving.done_at) == (ResultSaving.Trouble.NODE_AWAY, None)
    assert saving.next_at > timezone.now()
    assert not keeping.results_step(instance_id=instance.pk).more  # not before its time
    before = ResultCopy.objects.exclude(state=State.KEPT).order_by("-offset_bytes").first()
    assert before is not None
    monkeypatch.setattr(nodefiles.NodeFile, "read", real)
    save(instance)
    saving.refresh_from_db()
    assert saving.done_at is not None
    assert saving.trouble == ""
    assert set(copies(instance).values()) == {State.KEPT}


def test_bytes_that_are_others_are_fetched_once_more_then_told(
    instance: Instance, workspace: Workspace
) -> None:
    path = workspace.job(instance.pk, 1).path / BIG
    path.write_bytes(bytes(len(WHOLE[BIG])))
    save(instance)
    copy = ResultCopy.objects.get(file__path=BIG)
    assert (copy.state, copy.tries, copy.storage_name) == (State.FAILED, 2, "")
    told = InstanceEvent.objects.get(reason="results:hash_mismatch")
    assert told.detail == BIG
    assert ResultSaving.objects.get().done_at is not None
    assert copies(instance)["console.log"] == State.KEPT


@pytest.mark.parametrize("fault", ["gone", "shorter"])
def test_a_file_that_is_not_there_any_more_is_told(
    instance: Instance, workspace: Workspace, fault: str
) -> None:
    path = workspace.job(instance.pk, 1).path / BIG
    data = path.read_bytes()
    path.unlink()
    if fault == "shorter":
        path.write_bytes(data[:-1])
    save(instance)
    assert copies(instance)[BIG] == State.FAILED
    assert InstanceEvent.objects.filter(reason__startswith="results:").count() == 1


def test_a_full_disk_is_waited_for(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resultspool, "free_bytes", lambda: 1000)
    save(instance)
    assert ResultSaving.objects.get().trouble == ResultSaving.Trouble.DISK_FULL


def test_a_storage_that_takes_nothing_is_waited_for(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_name: str, _content: Any) -> str:
        raise RuntimeError("AccessDenied")

    monkeypatch.setattr(default_storage, "save", refuse)
    save(instance)
    saving = ResultSaving.objects.get()
    assert saving.trouble == ResultSaving.Trouble.STORAGE
    assert saving.next_at > timezone.now()
    monkeypatch.undo()
    save(instance)
    assert set(copies(instance).values()) == {State.KEPT}


def test_of_a_deleted_job_nothing_is_saved_any_more(instance: Instance) -> None:
    ResultSaving.objects.all().delete()
    instance.deleted_at = timezone.now()
    results_want(instance=instance)
    assert not ResultSaving.objects.exists()


def test_the_tasks_hand_on_to_each_other(instance: Instance) -> None:
    OutboxMessage.objects.all().delete()
    results_save_task(instance_id=instance.pk)
    ResultSaving.objects.update(done_at=None, next_at=timezone.now())
    results_sweep_task()
    assert [row.target for row in OutboxMessage.objects.filter(target=SAVE_TASK)]


def test_the_end_of_a_job_asks_for_it(alice: User, node: Node) -> None:
    running = Instance.objects.create(owner=alice, name="r", state="running", attempt=1, node=node)
    event = InstanceEvent(instance=running, target="failed", attempt=1)
    events.emit(events.INSTANCE_MOVED, instance=running, event=event)
    assert ResultSaving.objects.filter(instance=running).exists()


# --- what it is good for ---


def test_a_finished_result_does_not_go_with_its_node(
    instance: Instance, node: Node, client_of: ClientOf, workspace: Workspace
) -> None:
    save(instance)
    Node.objects.update(file_url="http://127.0.0.1:9", state="lost")
    shutil.rmtree(workspace.jobs)
    OutputFile.objects.update(removed_at=timezone.now())  # as retention does on the node
    client = client_of(instance.owner)
    answer = client.get(address(instance, BIG))
    assert answer.status_code == 200
    assert body_of(answer) == WHOLE[BIG]
    etag = answer["ETag"]
    part = client.get(
        address(instance, BIG), headers={"Range": "bytes=1000-1999", "If-Range": etag}
    )
    assert (part.status_code, body_of(part)) == (206, WHOLE[BIG][1000:2000])
    assert part["Content-Range"] == f"bytes 1000-1999/{len(WHOLE[BIG])}"
    assert client.get(address(instance, BIG), headers={"If-None-Match": etag}).status_code == 304
    zipped = client.get(f"/api/v1/jobs/{instance.pk}/artifacts.zip?prefix={LAST}/")
    assert len(body_of(zipped)) == int(zipped["Content-Length"])
    rows = client.get(address(instance, "")).json()["results"]
    assert all(row["is_kept"] for row in rows)
    (checkpoint,) = selectors.checkpoint_list(instance=instance)
    assert (checkpoint.is_complete, checkpoint.is_kept) == (True, True)


def test_the_log_is_the_kept_one_where_sql_has_less(
    instance: Instance, client_of: ClientOf
) -> None:
    log = f"/api/v1/jobs/{instance.pk}/log/download/"
    client = client_of(instance.owner)
    assert body_of(client.get(log)) == b""
    save(instance)
    assert body_of(client.get(log)) == WHOLE["console.log"]
    part = client.get(log, headers={"Range": "bytes=2-5"})
    assert (part.status_code, body_of(part)) == (206, WHOLE["console.log"][2:6])


def test_a_copy_that_the_storage_lost_comes_from_the_node(
    instance: Instance, client_of: ClientOf
) -> None:
    save(instance)
    default_storage.delete(ResultCopy.objects.get(file__path=BIG).storage_name)
    assert body_of(client_of(instance.owner).get(address(instance, BIG))) == WHOLE[BIG]


def test_how_far_it_is(instance: Instance, settings: Any) -> None:
    settings.RESULT_MAX_BYTES = 1_500_000
    found = selectors.results_get(instance=instance)
    assert found is not None
    assert (found.is_done, found.kept) == (False, 0)
    save(instance)
    found = selectors.results_get(instance=instance)
    assert found is not None
    assert (found.is_done, found.total, found.kept, found.failed) == (True, 10, 10, 0)
    settings.RESULT_MAX_BYTES = 100_000
    ResultCopy.objects.all().delete()
    results_want(instance=instance)
    save(instance)
    found = selectors.results_get(instance=instance)
    assert found is not None
    assert (found.kept, found.too_large) == (4, 6)


# --- and how it goes ---


def test_a_job_that_is_deleted_with_its_files_takes_the_copies_along(instance: Instance) -> None:
    save(instance)
    names = list(ResultCopy.objects.values_list("storage_name", flat=True))
    events.emit(events.INSTANCE_DELETED, instance=instance, files=False)
    assert keeping.copies_remove() == 0
    events.emit(events.INSTANCE_DELETED, instance=instance, files=True)
    assert keeping.copies_remove(instance_id=instance.pk) == len(names)
    assert not any(default_storage.exists(name) for name in names)
    assert not ResultCopy.objects.exists()


def test_a_job_that_is_deleted_in_the_middle_leaves_nothing(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = default_storage.save

    def deleted_meanwhile(name: str, content: Any) -> str:
        keeping.copies_delete(instance=instance)
        return str(real(name, content))

    monkeypatch.setattr(default_storage, "save", deleted_meanwhile)
    save(instance)
    monkeypatch.undo()
    names = [
        keeping.storage_name(one) for one in ResultCopy.objects.select_related("file__attempt")
    ]
    keeping.copies_remove()
    assert not any(default_storage.exists(name) for name in names)
    assert ResultSaving.objects.get().done_at is not None


def test_what_a_later_attempt_left_takes_the_place_of_the_old(
    instance: Instance, node: Node, workspace: Workspace
) -> None:
    save(instance)
    second = Attempt.objects.create(instance=instance, number=2, node=node, ended_at=timezone.now())
    newer = {path.replace("-12/", "-18/"): data for path, data in WHOLE.items() if LAST in path}
    put(workspace.job(instance.pk, 2), newer)
    manifest_store(attempt=second, files=manifest_of(newer), complete=True)
    save(instance)
    keeping.copies_remove()
    kept = copies(instance)
    assert {path for path in kept if "checkpoint" in path} == set(newer)
    assert set(kept.values()) == {State.KEPT}
    assert "console.log" in kept


def test_a_crash_leaves_no_bytes_for_ever(instance: Instance) -> None:
    left = resultspool.path_of(987_654)
    left.parent.mkdir(parents=True)
    left.write_bytes(b"x")
    assert keeping.spool_sweep() == 0, "somebody may be at it"
    os.utime(left, (1, 1))
    assert keeping.spool_sweep() == 1
    assert not left.exists()


def test_the_copies_go_by_age_with_the_files_of_the_node(instance: Instance) -> None:
    save(instance)
    ended = timezone.now()
    Instance.objects.filter(pk=instance.pk).update(ended_at=ended)
    names = list(ResultCopy.objects.values_list("storage_name", flat=True))
    assert names
    assert all(default_storage.exists(name) for name in names)
    for days, is_there in ((6, True), (7, False), (8, False)):
        removals.retention_sweep(now=ended + timedelta(days=days))
        keeping.copies_remove()
        assert [default_storage.exists(name) for name in names] == [is_there] * len(names), days
    assert not ResultCopy.objects.exists()


def test_no_copy_goes_while_it_is_handed_out(
    instance: Instance, alice: User, client_of: ClientOf
) -> None:
    save(instance)
    kept = ResultCopy.objects.get(file__path=BIG).storage_name
    Node.objects.update(file_url="http://127.0.0.1:9")
    answer = client_of(alice).get(address(instance, BIG))
    log = client_of(alice).get(f"/api/v1/jobs/{instance.pk}/log/download/")
    assert FileLease.objects.get().holder == f"download:{alice.pk}"
    events.emit(events.INSTANCE_DELETED, instance=instance, files=True)
    assert keeping.copies_remove() == 0
    assert default_storage.exists(kept)
    assert (body_of(answer), body_of(log)) == (WHOLE[BIG], WHOLE["console.log"])
    FileLease.objects.update(expires_at=timezone.now())
    assert keeping.copies_remove() > 0
    assert not default_storage.exists(kept)


# --- of a job that runs ---


def test_a_lost_job_goes_on_elsewhere_from_the_replica_of_its_newest_checkpoint(
    alice: User, attempt: Attempt, workspace: Workspace, settings: Any, tmp_path: Path
) -> None:
    settings.RESULT_FOLDER, settings.REPLICATE_EVERY_S = tmp_path / "saving", 60
    job = JobFactory.create(owner=alice, state="running")
    held = Attempt.objects.create(instance=job.instance, number=1, node=attempt.node)
    Instance.objects.filter(pk=job.pk).update(attempt=1, node=attempt.node)
    held.refresh_from_db()
    put(workspace.job(job.pk, 1), WHOLE)
    manifest_store(attempt=held, files=manifest_of(WHOLE), complete=False)
    save(job.instance)
    kept = {path for path, state in copies(job.instance).items() if state == State.KEPT}
    assert kept == {path for path in WHOLE if path.startswith(LAST)}, "nothing that still grows"
    # the next one waits for its time, and takes the place of the first
    manifest_store(attempt=held, files=manifest_of(WHOLE), complete=False)
    assert ResultSaving.objects.get(instance=job.instance).next_at > timezone.now()
    Node.objects.filter(pk=attempt.node_id).update(state=NodeState.LOST)
    Instance.objects.filter(pk=job.pk).update(state="lost")
    job = Job.objects.get(pk=job.pk)
    job_resume(actor=alice, job=job)
    assert Job.objects.get(pk=job.pk).resumes["2"]["step"] == 12
