"""Tell people how a flow run ended: by a webhook, and by notification blocks of Prefect."""

from __future__ import annotations

import inspect
from typing import Any

from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.core import Block
from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import Flow
from prefect.logging import get_logger
from prefect.utilities.asyncutils import run_coro_as_sync
from pydantic import BaseModel, ValidationError

from flows.parts import FALLING
from segpipe.reports.text import printable
from segpipe.run.notify import NotifyConfig, notify, shortened_text


def tell(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Tell whoever the flow run's parameters name; that nobody could be told is logged and nothing more."""
    config = _notify_config(flow_run)
    if config is None:
        return
    subject = f"{printable(flow_run.name)}: {state.name}"
    text = f"{subject}\n{state.message or ''}".rstrip()
    figures = {"flow": flow.name, "flow_run": str(flow_run.id), "state": state.name}
    failures = [notify(config, text, figures)]
    failures += [_by_block(name, subject, shortened_text(text)) for name in config.blocks]
    for why in filter(None, failures):
        get_logger("segpipe").warning("nobody was told: %s", why)


def tell_if_falling(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Of a flow run that is complete only a falling score is told."""
    if state.name == FALLING:
        tell(flow, flow_run, state)


def _notify_config(flow_run: FlowRun) -> NotifyConfig | None:
    """Who is told; None: the parameters cannot be used, which is why the flow run failed."""
    config = flow_run.parameters.get("config")
    given = config.model_dump() if isinstance(config, BaseModel) else config
    try:
        return NotifyConfig.model_validate(given.get("notify") or {}) if isinstance(given, dict) else None
    except ValidationError:
        return None


def _by_block(name: str, subject: str, text: str) -> str:
    """Why a block could not send the message; empty: it did. What the error says may hold the address."""
    try:
        block = Block.load(name)
        if not isinstance(block, NotificationBlock):
            return f"{name} is no notification block"
        # Else most of Prefect's blocks would keep to themselves that a message did not go out.
        with block.raise_on_failure():
            sent: Any = block.notify(text, subject)
            if inspect.isawaitable(sent):
                run_coro_as_sync(sent)  # type: ignore[call-overload]
    except Exception as error:
        return f"the block {name} failed ({type(error).__name__})"
    return ""
