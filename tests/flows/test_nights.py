"""The flows of nights, archives and maintenance: states, artifacts, names, and who is told."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.blocks.abstract import NotificationBlock
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import Crashed
from prefect.utilities.schema_tools import validate

from flows import batches, command, hooks
from flows import nightly as nightly_module
from flows.compare import compare
from flows.maintenance import maintenance
from flows.nightly import nightly
from flows.reprocess import reprocess
from segpipe.cli import guarded
from segpipe.run import batch
from segpipe.run import nightly as plain
from segpipe.run.batch import BatchError
from segpipe.run.history import read_history
from segpipe.run.maintenance import MaintenanceConfig, MaintenanceError
from segpipe.run.nightly import NightlyConfig
from segpipe.run.notify import NotifyConfig
from segpipe.run.reprocess import ReprocessConfig
from segpipe.sources import storage
from tests.flows.test_evaluate import artifacts, names_of_runs
from tests.run.nights import NOW, declare, latest_day, night_config, night_values, write_night, write_truth

pytestmark = pytest.mark.usefixtures("prefect_api")


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Truth and two models of one day; it is the night of that day."""
    write_truth(tmp_path)
    for seed, model in enumerate(("net_a", "net_b")):
        write_night(tmp_path, "2026-11-20", model, seed)
    for module in (plain, batch):
        monkeypatch.setattr(module, "now_utc", lambda: NOW)
    monkeypatch.setattr(storage, "RACY_S", 0.02)
    return tmp_path


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the webhook would have been told."""
    texts: list[str] = []
    monkeypatch.setattr(hooks, "notify", lambda config, text, figures: texts.append(text) or "")
    return texts


def ended(flow: Any, config: Any) -> State[Any]:
    """The final state of a flow run."""
    return flow(config, return_state=True)  # type: ignore[no-any-return]


def test_a_night_as_a_flow(archive: Path, told: list[str]) -> None:
    """Both models, their reports, a table of the night; nobody is told that all is well."""
    state = ended(nightly, night_config(archive))
    assert (state.name, state.is_completed()) == ("Completed", True)
    assert str(state.message).startswith("nightly of 2026-11-20: complete\n- net_a, 2026-11-20: complete")
    assert latest_day(archive, "net_b") == "2026-11-20"
    shown = {artifact.key: artifact for artifact in artifacts(state)}
    links = {key: str(shown[key].data) for key in shown if str(key).endswith("link")}
    assert set(shown) >= {"suite-nightly", "suite-nightly-stores", "suite-net-a-report", "segpipe-counting"}
    assert set(links) == {"suite-net-a-link", "suite-net-b-link"}
    assert all(link.startswith("[report.html](file:///") for link in links.values())
    rows = json.loads(str(shown["suite-nightly-stores"].data))
    assert [(row["model"], row["state"]) for row in rows] == [("net_a", "complete"), ("net_b", "complete")]
    flow_run, task_runs = names_of_runs(state)
    assert flow_run == "nightly suite 2026-11-20"
    assert task_runs[:3] == ["look for stores", "start suite/net_a", task_runs[2]]
    assert task_runs[-1] == "show nightly of 2026-11-20"
    assert told == []


def test_a_late_store_is_incomplete_and_told(archive: Path, told: list[str]) -> None:
    """The other one is evaluated; the state says which and why."""
    declare(archive / "archive/2026-11-20/net_a.zarr", False)
    state = ended(nightly, night_config(archive))
    assert (state.name, state.is_failed()) == ("Incomplete", True)
    assert "net_a, 2026-11-20: late, its writer has not finished" in str(state.message)
    with pytest.raises(BatchError, match="late"):
        state.result()
    (text,) = told
    assert text.startswith("nightly suite 2026-11-20: Incomplete\nnightly of 2026-11-20: incomplete\n- net_a")
    assert [row.model for row in read_history(archive / "results")] == ["net_b"]


def test_a_failed_gate_is_the_state_and_told(archive: Path, told: list[str]) -> None:
    config = night_config(archive, {"gates": [{"metric": "mean_iou", "min": 0.999}]}, models=["net_a"])
    state = ended(nightly, config)
    assert (state.name, state.is_failed()) == ("GateFailed", True)
    assert "GateFailed" in told[0]
    assert not (archive / "results/suite/net_a/latest.json").exists()


def test_a_falling_score_has_a_state_of_its_own(archive: Path, told: list[str], monkeypatch: Any) -> None:
    """Completed, and told all the same."""
    falling = batch.Batch("night", (batch.Outcome("m", "", "s", "complete", trend="falling"),))
    monkeypatch.setattr(nightly_module, "run_night", lambda *_: falling)
    state = ended(nightly, night_config(archive))
    assert (state.name, state.is_completed()) == ("ScoreFalling", True)
    assert "falling" in told[0]


def test_a_night_that_cannot_be_shown_ends_as_it_ended(
    archive: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state and the message say what became of the stores."""
    late = batch.Batch("night", (batch.Outcome("m", "", "s", "late", exit_code=3, message="not yet"),))
    monkeypatch.setattr(nightly_module, "run_night", lambda *_: late)

    def refused(*_: object) -> None:
        raise ConnectionError

    monkeypatch.setattr(batches, "create_table_artifact", refused)
    state = ended(nightly, night_config(archive))
    assert state.name == "Incomplete"
    assert "not yet" in told[0]


def test_the_archive_again_and_its_upkeep(archive: Path, told: list[str]) -> None:
    """Under other rules, and then nothing is left to do; partials that are named are kept."""
    assert ended(nightly, night_config(archive)).name == "Completed"
    values = night_values(archive, {"absent_class": "zero"}, since="2026-11-01", models=["net_a"])
    config = ReprocessConfig.model_validate(values)
    state = ended(reprocess, config)
    assert (state.name, state.result().outcomes[0].state) == ("Completed", "complete")
    assert names_of_runs(state)[0] == "reprocess suite, 2026-11-01 to the last"

    upkeep = MaintenanceConfig(results=f"{archive}/results", dry_run=False)
    state = ended(maintenance, upkeep)
    assert state.name == "Completed"
    done = state.result()
    assert (done.collected.kept, done.collected.removed, done.verified.buckets) == (2, 0, 2)
    assert {artifact.key for artifact in artifacts(state)} == {"maintenance"}
    for partial in (archive / "results/partials").glob("??/*"):
        partial.write_bytes(b"")
    state = ended(maintenance, upkeep)
    assert (state.name, state.is_failed()) == ("InfrastructureFailed", True)
    assert "a damaged partial" in told[0]
    with pytest.raises(MaintenanceError, match="maintenance: problems"):
        state.result()


class Chat(NotificationBlock):
    """A block that keeps what it is sent, or fails."""

    _block_type_slug = "segpipe-test-chat"
    folder: str

    async def notify(self, body: str, subject: str | None = None) -> None:
        Path(self.folder, "sent").write_text(f"{subject}|{body}")


def test_blocks_of_prefect_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One that is missing or fails is logged without its secrets, and stops no other."""
    Chat(folder=str(tmp_path)).save("team", overwrite=True)
    Chat(folder=f"{tmp_path}/secret").save("broken", overwrite=True)
    names = ["segpipe-test-chat/none", "segpipe-test-chat/broken", "segpipe-test-chat/team"]
    parameters = {"config": {"notify": {"blocks": names, "webhook": "NO_SUCH_VARIABLE"}}}
    run = FlowRun.model_construct(id=UUID(int=1), name="nightly x", parameters=parameters)
    with caplog.at_level(logging.WARNING):
        hooks.tell(nightly, run, Crashed(message="killed"))
    assert (tmp_path / "sent").read_text() == "nightly x: Crashed|nightly x: Crashed\nkilled"
    assert "the block segpipe-test-chat/none failed" in caplog.text
    assert "the block segpipe-test-chat/broken failed (FileNotFoundError)" in caplog.text
    assert "NO_SUCH_VARIABLE holds no http(s) address" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("config", [None, 7, {"notify": {"webhook": 3}}, {}])
def test_parameters_that_cannot_be_used_tell_nobody(config: Any) -> None:
    """A flow run may have failed for that very reason."""
    run = FlowRun.model_construct(id=UUID(int=1), name="x", parameters={"config": config})
    assert hooks._notify_config(run) in (None, NotifyConfig())


def test_parameters_survive_the_way_through_prefect(tmp_path: Path) -> None:
    """What the API stores is JSON, and means the same configuration."""
    config = night_config(tmp_path, deadline="07:00", notify={"blocks": ["a/b"]})
    plain_values = json.loads(json.dumps(nightly.serialize_parameters({"config": config})))
    assert nightly.validate_parameters(plain_values)["config"] == config


@pytest.mark.parametrize(
    "short",
    [
        {"classes": 5, "cluster": "threads", "layout": "stacked", "ignore_labels": [0]},
        {"classes": {"file": "cityscapes", "groups": {"all": ["road"]}}, "valid": "v.zarr::valid"},
        {"truth": {"store": "t.zarr", "array": "labels", "remap": {7: "car"}}, "date": "2026-11-20"},
        {"slices": ["weather", {"by": "speed", "bins": 4}, ["a", "b"]], "intervals": "bootstrap"},
        {"metadata": {"a": 1.5, "b": True, "c": "x"}, "also": {}, "select": {"ids": "ids.txt"}},
    ],
)
def test_what_a_configuration_may_say_the_api_takes(tmp_path: Path, short: dict[str, Any]) -> None:
    """Prefect's server checks parameters by their JSON schema, which has to know the short forms."""
    values = json.loads(json.dumps({"config": night_values(tmp_path, short)}))
    schema = nightly.parameters.model_dump_for_openapi()
    assert validate(values, schema) == []
    values["config"]["evaluation"]["truth"] = 7
    assert validate(values, schema) != []


def test_every_deployment_has_parameters_that_its_flow_takes() -> None:
    """prefect.yaml is read as Prefect reads it; schedules name their time zone."""
    import yaml

    root = Path(__file__).parents[2]
    flows = {"nightly": nightly, "reprocess": reprocess, "compare": compare, "maintenance": maintenance}
    for file in ("prefect.yaml", "docker/prefect.yaml", "docker/compose-prefect.yaml"):
        deployments = yaml.safe_load((root / file).read_text())["deployments"]
        assert [one["name"].partition("-")[0] for one in deployments] == list(flows)
        for one in deployments:
            path, _, name = one["entrypoint"].partition(":")
            assert (root / path).is_file()
            flows[name].validate_parameters(one["parameters"])
            assert validate(one["parameters"], flows[name].parameters.model_dump_for_openapi()) == []
            assert all(schedule["timezone"] for schedule in one.get("schedules", []))
            assert one["concurrency_limit"]["limit"] == 1


@pytest.fixture
def _tests_api(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "provide_api", lambda: None)


@pytest.mark.usefixtures("_tests_api")
def test_the_commands_of_nights(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Tables or one JSON document, the exit codes of segpipe, and mistakes by their key."""

    def run(which: str, *words: str) -> tuple[int, str, str]:
        work = lambda: getattr(command, which).main(list(words), which, standalone_mode=False)  # noqa: E731
        code = guarded(work, as_json="--json" in words)
        out, err = capsys.readouterr()
        return code, out, err

    import yaml

    file = archive / "nightly.yaml"
    file.write_text(yaml.safe_dump(night_values(archive, models=["net_a", "net_z"])))
    code, out, _ = run("nightly", str(file))
    assert code == 3
    assert out.splitlines()[1] == "- net_z, 2026-11-20: late, there is no such store yet"
    (archive / "upkeep.yaml").write_text(f"results: {archive}/results\n")
    code, out, _ = run("maintenance", str(archive / "upkeep.yaml"), "--json")
    assert (code, json.loads(out)["dry_run"]) == (0, True)
    code, _, err = run("reprocess", str(file), "--set", "since=May")
    assert code == 1
    assert "since: input should be a day such as 2026-11-20 (found 'May')" in err
    code, _, err = run("nightly", str(file), "--set", "evaluation.truht=x", "--set", "raedy=1")
    assert code == 1
    assert "evaluation.truht: no such key; did you mean truth?" in err
    assert "raedy: no such key; did you mean ready?" in err


def test_the_shipped_configuration_of_a_night_is_one() -> None:
    from segpipe.config import load_checked

    path = Path(__file__).parents[2] / "configs/examples/nightly.yaml"
    config = load_checked(NightlyConfig, path)
    assert config.pattern.has_model


def test_client_is_of_the_tests() -> None:
    """The tests above never reach an API of this machine."""
    with get_client(sync_client=True) as client:
        assert "127.0.0.1" in str(client.api_url) or "localhost" in str(client.api_url)
