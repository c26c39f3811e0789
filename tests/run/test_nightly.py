"""A night: what is found, what is late, what is evaluated, who is told, and the archive again."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from segpipe.config import SideConfig
from segpipe.errors import InfrastructureError, InputError, worst_exit_code
from segpipe.run import batch, nightly, notify, ready, stages
from segpipe.run.batch import Batch, Outcome
from segpipe.run.evaluate import Steps, evaluate
from segpipe.run.history import read_history
from segpipe.run.lease import hold
from segpipe.run.nightly import NightlyConfig, run_night, survey
from segpipe.run.nightly import nightly as run_nightly
from segpipe.run.notify import NotifyConfig
from segpipe.run.ready import ReadyRule, why_not_ready
from segpipe.run.reprocess import ReprocessConfig, reprocess
from segpipe.run.trend import TrendRule
from segpipe.sources.storage import ObjectInfo
from tests.run.datasets import figures
from tests.run.nights import NOW, declare, latest_day, night_config, night_values, write_night, write_truth
from tests.run.test_history import a_row
from tests.sources.servers import serving


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Truth, and two models of two days; it is the night of the second day."""
    write_truth(tmp_path)
    for seed, day in enumerate(("2026-11-19", "2026-11-20")):
        write_night(tmp_path, day, "net_a", seed)
        write_night(tmp_path, day, "net_b", seed + 5)
    for module in (nightly, batch):
        monkeypatch.setattr(module, "now_utc", lambda: NOW)
    return tmp_path


def states(found: Batch) -> dict[str, str]:
    """Model and day -> state."""
    return {f"{one.model} {one.day[-2:]}": one.state for one in found.outcomes}


def test_a_night_evaluates_what_is_new_and_the_next_one_what_changed(archive: Path, reads: list[str]) -> None:
    """Day by day, all models on one reading of truth; what is unchanged is not even read."""
    config = night_config(archive)
    first = run_nightly(config)
    assert (first.exit_code, first.title) == (0, "nightly of 2026-11-20")
    assert set(states(first).values()) == {"complete"}
    assert [(one.model, one.day) for one in first.outcomes] == [
        (model, day) for day in ("2026-11-19", "2026-11-20") for model in ("net_a", "net_b")
    ]
    truth = [key for key in reads if key.startswith("truth")]
    assert len(truth) == 2 * len(set(truth))
    rows = read_history(archive / "results", "suite", "net_a")
    assert [row.day for row in rows] == ["2026-11-19", "2026-11-20"]
    (_, second) = (one for one in first.outcomes if one.model == "net_a")
    assert second.change == pytest.approx(rows[1].scores["mean_iou"] - rows[0].scores["mean_iou"])  # type: ignore[operator]
    assert re.fullmatch(r"Mean IoU 0\.\d{4} \(A\) to .*95 % interval .*, p .*", second.compared)
    assert latest_day(archive, "net_a") == "2026-11-20"

    reads.clear()
    assert set(states(run_nightly(config)).values()) == {"unchanged"}
    assert reads == []
    write_night(archive, "2026-11-18", "net_a", 9)
    chunk = archive / "archive/2026-11-20/net_b.zarr/labels/c/0/0/0"
    other = archive / "archive/2026-11-19/net_b.zarr/labels/c/0/0/0"
    chunk.write_bytes(other.read_bytes())
    again = states(run_nightly(config))
    assert again.pop("net_a 18") == "complete"
    assert again.pop("net_b 20") == "complete"
    assert set(again.values()) == {"unchanged"}
    assert latest_day(archive, "net_a") == "2026-11-20"


def test_a_night_gives_the_bytes_of_a_plain_evaluation(archive: Path) -> None:
    config = night_config(archive)
    (run, *_) = (Path(one.run) for one in run_nightly(config).outcomes if one.model == "net_b")
    (one, *_) = (one for one in config.find() if one.model == "net_b")
    alone = config.of(one).model_copy(update={"results": f"{archive}/alone"})
    assert figures(run) == figures(evaluate(alone))


def test_what_is_not_ready_is_late_and_not_evaluated(archive: Path) -> None:
    """The others are; a late store is evaluated by the first night that finds it ready."""
    declare(archive / "archive/2026-11-20/net_b.zarr", False)
    config = night_config(archive, models=["net_a", "net_b", "net_c"])
    found = run_nightly(config)
    assert (found.exit_code, found.state, found.remarkable) == (3, "incomplete", True)
    late = {one for one, state in states(found).items() if state == "late"}
    assert late == {"net_c 20", "net_b 20"}
    assert {state for one, state in states(found).items() if one not in late} == {"complete"}
    assert found.text().splitlines()[1:3] == [
        "- net_c, 2026-11-20: late, there is no such store yet",
        "- net_b, 2026-11-20: late, its writer has not finished",
    ]
    declare(archive / "archive/2026-11-20/net_b.zarr", True)
    assert states(run_nightly(config))["net_b 20"] == "complete"


@pytest.mark.parametrize(
    ("ready", "prepare", "said"),
    [
        ({"by": "record"}, "", "it has no record of completeness; if another tool writes it, say ready"),
        ({"marker": "{folder}/archive/{{date}}/_DONE"}, "", "there is no .*/2026-11-20/_DONE"),
        ({"marker": "{folder}/archive/{{date}}/{{model}}.zarr/_DONE"}, "_DONE", ""),
        ({"marker": "{folder}/nosuch/{{date}}"}, "", "it cannot be read: store: found no such folder"),
        ({"by": "quiet", "minutes": 30}, "", r"it changed 0\.\d minutes ago \(of 30\)"),
        ({"by": "quiet", "minutes": 0.0001}, "", ""),
    ],
)  # fmt: skip
def test_three_rules_tell_what_is_ready(tmp_path: Path, ready: Any, prepare: str, said: str) -> None:
    write_truth(tmp_path)
    store = write_night(tmp_path, "2026-11-20", "net", complete=None)
    if prepare:
        (store / prepare).touch()
    rule = dict(ready)
    if "marker" in ready:
        rule = {"by": "marker", "marker": ready["marker"].format(folder=tmp_path)}
    found = survey(night_config(tmp_path, ready=rule), NOW)
    if said:
        (late,) = found.outcomes
        assert (late.state, found.stores) == ("late", [])
        assert re.search(said, late.message), late.message
    else:
        assert [one.model for one in found.stores] == ["net"]


@pytest.mark.parametrize(("minutes", "said"), [(30, "it changed 10.0 minutes ago (of 30)"), (5, "")])
def test_a_store_is_quiet_when_its_last_object_is(
    monkeypatch: pytest.MonkeyPatch, minutes: float, said: str
) -> None:
    """One object that was written just now tells that its writer works on, however old the others are."""
    ages = {"a": 3600, "b": 600, "c": 7200}

    class Aged:
        def list(self) -> dict[str, ObjectInfo]:
            return {key: ObjectInfo(1, "t", time.time_ns() - age * 10**9) for key, age in ages.items()}

    monkeypatch.setattr(ready, "open_storage", lambda address: Aged())
    rule = ReadyRule(by="quiet", minutes=minutes)
    assert why_not_ready(rule, SideConfig(store="anywhere"), "net", None) == said


def test_only_the_last_days_are_looked_at(archive: Path) -> None:
    """And none of the future; tonight may be the date of yesterday."""
    write_night(archive, "2026-11-21", "net_a")
    days = lambda **settings: sorted(  # noqa: E731
        {one.day.day for one in survey(night_config(archive, **settings), NOW).stores if one.day}
    )
    assert days() == [19, 20]
    assert days(look_back_days=0) == [20]
    assert days(days_ago=1) == [19]
    late = survey(night_config(archive, models=["net_z"], days_ago=3), NOW).outcomes
    assert [(one.model, one.day) for one in late] == [("net_z", "2026-11-17")]


def test_one_store_that_is_written_anew_every_night(archive: Path) -> None:
    """A pattern without {model} and {date}: the day is that of the run."""
    store = archive / "archive/2026-11-20/net_a.zarr"
    config = night_config(archive, {"pred": f"{store}::labels", "model": "net"})
    assert [one.state for one in run_nightly(config).outcomes] == ["complete"]
    assert [one.state for one in run_nightly(config).outcomes] == ["unchanged"]


def test_one_bad_store_stops_no_other(archive: Path) -> None:
    """Damaged: incomplete, and tried again the next night. No label maps: bad input, in words."""
    chunk = archive / "archive/2026-11-19/net_a.zarr/labels/c/0/0/0"
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 1
    chunk.write_bytes(data)
    (archive / "archive/2026-11-20/net_b.zarr/labels/zarr.json").write_text("{}")
    found = run_nightly(night_config(archive))
    assert states(found) == {
        "net_a 19": "incomplete", "net_b 19": "complete", "net_a 20": "complete", "net_b 20": "bad input"
    }  # fmt: skip
    assert found.exit_code == 1
    assert states(run_nightly(night_config(archive)))["net_a 19"] == "incomplete"


def test_the_deadline_ends_a_night_with_what_is_counted(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two days, and time for the first one only: the second is not begun, exit code 3."""
    clock = iter([NOW, NOW, *[NOW + timedelta(hours=9)] * 99])
    for module in (nightly, batch):
        monkeypatch.setattr(module, "now_utc", lambda: next(clock))
    found = run_nightly(night_config(archive, deadline="07:00"))
    assert found.exit_code == 3
    assert states(found)["net_a 20"] == states(found)["net_b 20"] == "not begun"
    monkeypatch.setattr(nightly, "now_utc", lambda: NOW)
    assert states(run_nightly(night_config(archive)))["net_a 20"] == "complete"


def test_counting_that_has_no_time_at_all_publishes_nothing(archive: Path) -> None:
    """The run says why, and its counts are there for the next one."""
    (one, *_) = night_config(archive).find()
    run = stages.start(night_config(archive).of(one))
    stages.plan(run)
    with pytest.raises(batch.SegpipeError, match="nothing was counted before the deadline"):
        stages.count(run, until=NOW)


@pytest.mark.parametrize(
    ("zone", "now", "deadline", "expected"),
    [
        ("UTC", "2026-11-20T03:00Z", "07:00", "2026-11-20T07:00+00:00"),
        ("UTC", "2026-11-20T07:00Z", "07:00", "2026-11-21T07:00+00:00"),
        ("Europe/Zurich", "2026-11-20T23:30Z", "07:00", "2026-11-21T07:00+01:00"),
        ("Europe/Zurich", "2026-03-28T22:00Z", "07:00", "2026-03-29T07:00+02:00"),
        ("America/New_York", "2026-11-20T03:00Z", "23:00", "2026-11-19T23:00-05:00"),
    ],
)
def test_the_deadline_is_read_on_the_clock_of_the_time_zone(
    tmp_path: Path, zone: str, now: str, deadline: str, expected: str
) -> None:
    """Also in the night when clocks are put forward."""
    until = night_config(tmp_path, timezone=zone, deadline=deadline).until(datetime.fromisoformat(now))
    assert until is not None
    assert until.isoformat(timespec="minutes") == expected


def test_a_day_begins_at_midnight_of_the_time_zone(tmp_path: Path) -> None:
    late = datetime(2026, 11, 20, 23, 30, tzinfo=UTC)
    assert night_config(tmp_path).night(late) == date(2026, 11, 20)
    assert night_config(tmp_path, timezone="Europe/Zurich").night(late) == date(2026, 11, 21)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"timezone": "Mars/Olympus"}, "name of a time zone such as UTC"),
        ({"timezone": "../../etc/passwd"}, "name of a time zone such as UTC"),
        ({"deadline": 25200}, "input should be a time of day in quotation marks"),
        ({"deadline": "7"}, "input should be a time of day"),
        ({"ready": {"by": "marker"}}, "belong together"),
        ({"ready": {"by": "marker", "marker": "x/{y}"}}, r"found \{y\}"),
        ({"models": ["../x"]}, "should match pattern"),
        ({"evaluation": {"pred": "x/{day}.zarr"}}, r"found \{day\}; known are"),
        ({"evaluation": {"truth": "{model}.zarr"}}, r"only pred.store may name \{model\}"),
        ({"evaluation": {"pred": "{model}.zarr", "truth": "{date}.zarr"}}, r"truth names a \{date\}"),
        ({"evaluation": {"pred": "a.zarr"}, "models": ["a"]}, r"pred.store names no \{model\}"),
        ({"evaluation": {"also": {"b": "b.zarr"}}}, r"also: models are found by \{model\}"),
        ({"notify": {"webhook": "https://secret"}}, "should match pattern"),
    ],
)
def test_mistakes_in_the_configuration_of_a_night(tmp_path: Path, settings: Any, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        night_config(tmp_path, **settings)


def test_two_nights_do_not_run_at_once(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second waits until its deadline, begins nothing, and says for whom it waited."""
    clock = iter([NOW, *[datetime.now(UTC) + timedelta(days=1)] * 9])
    monkeypatch.setattr(nightly, "now_utc", lambda: next(clock))
    monkeypatch.setattr(NightlyConfig, "until", lambda self, now: datetime.now(UTC))
    told: list[str] = []
    lease = archive / "results/suite" / nightly.LEASE_NAME
    with (
        hold(lease, "nightly of 2026-11-19"),
        pytest.raises(batch.SegpipeError, match="still holds") as error,
    ):
        run_night(night_config(archive), lambda until, check: Steps(), note=told.append)
    assert error.value.exit_code == 3
    assert read_history(archive / "results") == []


def test_who_lost_the_lease_publishes_nothing(archive: Path) -> None:
    """What was counted is kept for the one that has it now."""

    def steps(until: datetime | None, check: Any) -> Steps:
        (archive / "results/suite" / nightly.LEASE_NAME).write_text(
            '{"token": "x", "purpose": "another night"}'
        )
        return Steps(until=until, before_publish=check)

    found = run_night(night_config(archive), steps)
    assert set(states(found).values()) == {"infrastructure"}
    assert "lost its lease to another night" in found.outcomes[0].message
    assert read_history(archive / "results") == []
    assert not (archive / "results/suite/net_a/latest.json").exists()


def test_an_unexpected_error_of_one_day_stops_no_other(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = batch.evaluate_each

    def broken(configs: Any, steps: Any) -> Any:
        if configs[0].date == date(2026, 11, 19):
            message = "division\nby zero"
            raise ZeroDivisionError(message)
        return real(configs, steps)

    monkeypatch.setattr(batch, "evaluate_each", broken)
    found = run_nightly(night_config(archive))
    assert states(found)["net_a 19"] == "infrastructure"
    assert states(found)["net_a 20"] == "complete"
    assert "unexpected ZeroDivisionError: division by zero" in found.text()


# ---- who is told


class Heard(list[dict[str, Any]]):
    """What a webhook received; `answers` are given in turn, 200 at the end."""

    address = ""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[int] = []


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Heard]:
    """A service on this machine whose address is in the environment."""
    heard = Heard()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            code = heard.answers.pop(0) if heard.answers else 200
            self.send_response(code)
            if code == 302:
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    monkeypatch.setattr(notify, "PAUSES_S", (0.0, 0.0))
    with serving(Handler) as port:
        heard.address = f"http://127.0.0.1:{port}/secret-path"
        monkeypatch.setenv("NIGHT_HOOK", heard.address)
        yield heard


def test_people_are_told_what_is_wrong_and_nothing_else(archive: Path, webhook: Heard) -> None:
    """A late store is told with all figures; a night in which all is well is silent."""
    config = night_config(archive, notify={"webhook": "NIGHT_HOOK"})
    run_nightly(config)
    assert webhook == []
    declare(archive / "archive/2026-11-20/net_a.zarr", False)
    run_nightly(config)
    (message,) = webhook
    assert message["text"].startswith("nightly of 2026-11-20: incomplete\n- net_a, 2026-11-20: late")
    assert message["segpipe"]["exit_code"] == 3
    assert len(message["segpipe"]["outcomes"]) == 4


def test_a_night_that_cannot_begin_is_told(archive: Path, webhook: Heard) -> None:
    evaluation = {"pred": f"{archive}/nosuch/{{date}}/{{model}}.zarr::labels"}
    with pytest.raises(InputError, match="no such folder"):
        run_nightly(night_config(archive, evaluation, notify={"webhook": "NIGHT_HOOK"}))
    assert "no such folder" in webhook[0]["text"]


def test_a_falling_score_is_told(tmp_path: Path) -> None:
    """It is no error. A run before that is gone cannot be compared, and says so."""
    days = [f"2026-11-{17 + at}" for at in range(4)]
    scores = [{"mean_iou": value} for value in (0.7, 0.71, 0.7, 0.5)]
    rows = [a_row(day=day, run=day, scores=one) for day, one in zip(days, scores, strict=True)]
    plain = Outcome("m", days[-1], "s", "complete", run=f"{tmp_path}/{days[-1]}")
    low = batch._scored(plain, rows[-1], rows, TrendRule(last=1, before=3))
    assert (low.trend, low.score, low.change) == ("falling", 0.5, pytest.approx(-0.2))
    assert low.compared.startswith("not compared with the run before: run: found no such folder")
    told = Batch("night", (low,))
    assert (told.exit_code, told.remarkable) == (0, True)
    assert told.text() == "night: complete\n- m, 2026-11-20: complete, mean_iou 0.5000 (-0.2000), falling"


@pytest.mark.parametrize(
    ("answers", "sent", "why"),
    [
        ([500, 503], 3, ""),
        ([404] * 3, 3, "the service answers with status 404"),
        ([302] * 3, 3, "status 302"),
    ],
)
def test_a_message_is_sent_three_times_and_no_further(
    webhook: Heard, answers: list[int], sent: int, why: str
) -> None:
    """A redirect is not followed; the address is in no word of it."""
    webhook.answers = answers
    said = notify.notify(NotifyConfig(webhook="NIGHT_HOOK"), "text", {"nan": float("nan")})
    assert len(webhook) == sent
    assert why in said
    assert bool(said) == bool(why)
    assert "secret" not in said


def test_an_address_that_cannot_be_used_is_told_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "PAUSES_S", ())
    for address, why in (
        ("file:///etc/secret", "holds no http"),
        ("http://127.0.0.1:1/secret", "cannot be reached"),
        ("http://secret host/", "cannot be reached"),
    ):
        monkeypatch.setenv("NIGHT_HOOK", address)
        said = notify.notify(NotifyConfig(webhook="NIGHT_HOOK"), "text", {})
        assert why in said
        assert "secret" not in said
    assert notify.notify(NotifyConfig(), "text", {}) == ""


# ---- the archive again


def test_reprocessing_resumes_reads_nothing_twice_and_leaves_latest(
    archive: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted after one run it goes on; the rules of scoring change without a chunk being read."""
    run_nightly(night_config(archive))
    reads.clear()
    values = night_values(archive, {"absent_class": "zero"})
    config = ReprocessConfig.model_validate({**values, "until": "2026-11-19"})
    publish = stages.publish
    published: list[Path] = []

    def once(run: Path) -> None:
        if published:
            raise KeyboardInterrupt
        publish(run)
        published.append(run)

    monkeypatch.setattr(stages, "publish", once)
    with pytest.raises(KeyboardInterrupt):
        reprocess(config)
    monkeypatch.setattr(stages, "publish", publish)
    found = reprocess(config)
    assert states(found) == {"net_a 19": "unchanged", "net_b 19": "complete"}
    assert set(states(reprocess(config)).values()) == {"unchanged"}
    assert reads == []
    assert latest_day(archive, "net_a") == "2026-11-20"
    assert len(read_history(archive / "results", model="net_a")) == 3
    assert set(states(reprocess(ReprocessConfig.model_validate(values)))) == {
        f"net_{model} {day}" for model in "ab" for day in (19, 20)
    }


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"since": "2026-02-01", "until": "2026-01-01"}, "until: 2026-01-01 is before since: 2026-02-01"),
        ({"since": "May"}, "input should be a day"),
        ({"since": "2026-02-01", "evaluation": {"pred": "{model}.zarr"}}, r"pred.store names no \{date\}"),
    ],
)
def test_mistakes_in_what_is_reprocessed(tmp_path: Path, settings: Any, words: str) -> None:
    evaluation = settings.pop("evaluation", None)
    with pytest.raises(ValidationError, match=words):
        ReprocessConfig.model_validate(night_values(tmp_path, evaluation, **settings))


def test_reprocessing_does_not_wait_for_the_night(archive: Path) -> None:
    """Each has a lease of its own: `latest` cannot go back, whoever publishes when."""
    done = threading.Event()
    with hold(archive / "results/suite" / nightly.LEASE_NAME, "nightly"):
        reprocess(ReprocessConfig.model_validate(night_values(archive, since="2026-11-20", models=["net_a"])))
        done.set()
    assert done.is_set()


def test_a_service_that_does_not_answer_is_infrastructure(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of that store; the night goes on with the others."""

    def ask(rule: Any, pred: Any, model: str, day: date) -> str:
        if model == "net_a":
            message = "no answer"
            raise InfrastructureError(message)
        return ""

    monkeypatch.setattr(nightly, "why_not_ready", ask)
    found = survey(night_config(archive), NOW)
    assert {one.model for one in found.stores} == {"net_b"}
    assert {one.state for one in found.outcomes} == {"infrastructure"}


def test_the_worst_of_several_exit_codes() -> None:
    assert [worst_exit_code(codes) for codes in ([0, 2], [2, 3], [3, 1], [1, 4], [4, 130], [])] == [
        2, 3, 1, 4, 130, 0
    ]  # fmt: skip
