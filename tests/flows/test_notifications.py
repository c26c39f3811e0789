"""Who is told how a flow run ended: Slack, e-mail and webhooks by Prefect's own blocks, over real sockets.

The services stand on loopback. Only their addresses are ours; blocks, messages and connections are real.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_string, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import BaseServer, StreamRequestHandler, ThreadingTCPServer
from typing import Any
from uuid import UUID

import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock, SendgridEmail, SlackWebhook
from prefect.client.schemas.objects import FlowRun
from prefect.states import Failed
from pydantic import SecretStr

from flows import hooks
from flows.compare import compare
from segpipe.run import notify
from segpipe.run.compared import CompareConfig

pytestmark = [
    pytest.mark.usefixtures("prefect_api"),
    # Apprise, which Prefect's blocks send by, still loads it in Python 3.11.
    pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning"),
]

SLACK = "https://hooks.slack.com/services/T0SECRET1/B0SECRET2/SECRETSECRETSECRETSECRET"


@contextmanager
def running(server: BaseServer) -> Iterator[None]:
    """A server in a thread of its own."""
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Http(ThreadingHTTPServer):
    """Keeps what it is sent, by path, and answers with a status."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Post)
        self.got: dict[str, Any] = {}
        self.status = 200
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Post(BaseHTTPRequestHandler):
    server: Http

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got[self.path] = json.loads(body)
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: Any) -> None:
        """Nothing."""


class Smtp(ThreadingTCPServer):
    """Takes letters, as a mail server does."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Letter)
        self.got: list[str] = []


class _Letter(StreamRequestHandler):
    server: Smtp

    def handle(self) -> None:
        self.say("220 here")
        while word := self.rfile.readline().decode().strip().upper():
            if word == "DATA":
                self.say("354 go on")
                lines = iter(lambda: self.rfile.readline().decode().rstrip("\r\n"), ".")
                self.server.got.append("\n".join(lines))
            self.say("221 bye" if word == "QUIT" else "250 well")
            if word == "QUIT":
                return

    def say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


@pytest.fixture
def http(monkeypatch: pytest.MonkeyPatch) -> Iterator[Http]:
    """Stands where Slack, Sendgrid and a webhook of one's own would."""
    from apprise.plugins.sendgrid import NotifySendGrid
    from apprise.plugins.slack import NotifySlack

    with (server := Http()), running(server):
        monkeypatch.setattr(NotifySlack, "webhook_url", f"{server.url}/slack")
        monkeypatch.setattr(NotifySendGrid, "notify_url", f"{server.url}/sendgrid")
        monkeypatch.setenv("TEAM_WEBHOOK", f"{server.url}/own?token=SECRET")
        monkeypatch.setattr(notify, "PAUSES_S", (0.0,))
        yield server


@pytest.fixture
def blocks(http: Http) -> list[str]:
    """Blocks as a team saves them."""
    SlackWebhook(url=SecretStr(SLACK)).save("team", overwrite=True)
    mail = {"sender_email": "night@example.org", "to_emails": ["team@example.org"]}
    SendgridEmail(api_key=SecretStr("SECRET-KEY"), **mail).save("team", overwrite=True)
    text: dict[str, Any] = {"subject": "{{subject}}", "body": "{{body}}"}
    own = CustomWebhookNotificationBlock(name="own", url=f"{http.url}/custom", json_data=text)
    own.save("team", overwrite=True)
    return ["slack-webhook/team", "sendgrid-email/team", "custom-webhook/team"]


def test_a_flow_run_that_fails_tells_slack_mail_and_webhooks(
    http: Http, blocks: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each is told the name of the run, its state and why; no address is logged."""
    (tmp_path / "a").mkdir()
    whom = {"webhook": "TEAM_WEBHOOK", "blocks": blocks}
    given = {"a": f"{tmp_path}/a", "b": f"{tmp_path}/b", "notify": whom}
    config = CompareConfig.model_validate(given)
    with caplog.at_level(logging.INFO):
        state: Any = compare(config, return_state=True)  # type: ignore[call-overload]
    assert state.name == "BadInput"
    subject = f"compare {tmp_path}/b with {tmp_path}/a: BadInput"
    why = "found a folder that is no run"
    assert why in state.message

    (slack,) = [value for path, value in http.got.items() if path.startswith("/slack/T0SECRET1/B0SECRET2/")]
    (shown,) = slack["attachments"]
    assert shown["title"] == subject
    assert why in shown["text"]
    mail = http.got["/sendgrid"]
    assert mail["personalizations"] == [{"to": [{"email": "team@example.org"}]}]
    assert mail["subject"] == subject
    assert why in mail["content"][0]["value"]
    assert http.got["/custom"] == {"subject": subject, "body": f"{subject}\n{state.message}"}
    assert http.got["/own?token=SECRET"]["segpipe"]["state"] == "BadInput"
    assert "SECRET" not in caplog.text


def test_what_cannot_be_told_is_logged_without_its_address(
    http: Http, blocks: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The flow run has ended as it has; whoever else is to be told is told."""
    http.status = 500
    whom = {"webhook": "TEAM_WEBHOOK", "blocks": blocks[:2]}
    run = FlowRun.model_construct(id=UUID(int=1), name="nightly x", parameters={"config": {"notify": whom}})
    with caplog.at_level(logging.WARNING):
        hooks.tell(compare, run, Failed(message="why"))
    assert "the block slack-webhook/team failed (NotificationError)" in caplog.text
    assert "the block sendgrid-email/team failed (NotificationError)" in caplog.text
    assert "webhook (TEAM_WEBHOOK): the service answers with status 500" in caplog.text
    assert "SECRET" not in caplog.text


def test_a_mail_server_of_ones_own_is_an_address_of_a_block() -> None:
    """Blocks of Prefect hand their address to Apprise, which speaks SMTP to mailto://."""
    with (server := Smtp()), running(server):
        address = f"mailto://127.0.0.1:{server.server_address[1]}/?from=night@example.org&to=team@example.org"
        SlackWebhook(url=SecretStr(address)).save("mail", overwrite=True)
        config = {"notify": {"blocks": ["slack-webhook/mail"]}}
        run = FlowRun.model_construct(id=UUID(int=1), name="nightly x", parameters={"config": config})
        hooks.tell(compare, run, Failed(name="GateFailed", message="mean_iou is 0.4, asked for 0.5"))
    (letter,) = server.got
    read = message_from_string(letter, policy=policy.default)
    assert "team@example.org" in read["To"]
    assert read["Subject"] == "nightly x: GateFailed"
    words = read.get_body(("plain", "html"))
    assert words is not None
    assert "mean_iou is 0.4, asked for 0.5" in words.get_content()
