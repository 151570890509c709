"""Events never move a microscope: only claims do, and old rescans cannot be claimed."""

from __future__ import annotations

import threading
from uuid import uuid4

from labsem.store import acts, asking, instruments, journal, samples
from labsem.streams import Publisher
from schemas.acts import RescanParameters, RescanReason
from schemas.requests import Claim
from schemas.settings import RescanSettings
from services.gateway import Gateway
from services.gateway import gateway as module
from services.gateway.acts import ActsClient

OLD = 100


def test_an_emptied_cursor_against_a_journal_of_100_old_rescans_gives_0_moves(
    run, microscope, analysis, until, settings, monkeypatch
):
    with analysis.store.write() as session:
        instruments.ensure(session, "virtual-1")
        samples.frame_came(session, "demo-1", settle_after_s=60)
        for number in range(OLD):
            asked = asking.create_rescan(
                session,
                asking.Place("demo-1", "virtual-1", 0.01 * number, 0.3, 60.0),
                stream=analysis.stream,
                frame_before=uuid4(),
                reasons=(RescanReason.BLURRED,),
                parameters=RescanParameters(position_x_mm=0.01 * number, position_y_mm=0.3, autofocus=True),
                settings=RescanSettings(),
                requested_by="person",
                request_id=uuid4(),
            )
            claimed = acts.claim(session, "virtual-1", uuid4(), running_for_s=300)
            assert claimed.act_id == asked.act.act_id
            acts.report(session, claimed.act_id, "virtual-1", "done long ago")
    with analysis.store.read() as session:
        old = journal.unsent(session, analysis.stream, 0, 5000)
    assert sum(b'"state":"approved"' in message.payload for message in old) == OLD

    # The gateway keeps no cursor at all; here every old message is read to it anew, as a replay would.
    claims, told_of, told = [], [], threading.Event()
    ask, hear, subscriber = ActsClient._ask, Gateway._told, module.Subscriber

    def counted(self, request):
        answer = ask(self, request)
        if isinstance(request, Claim) and answer is not None:
            claims.append(answer)
        return answer

    def heard(self, session, envelope, name, payload):
        hear(self, session, envelope, name, payload)
        told_of.append(envelope.sequence)
        if len(told_of) == len(old):
            told.set()

    def from_first(*args, **more):
        return subscriber(*args, **{**more, "start": "first"})

    monkeypatch.setattr(ActsClient, "_ask", counted)
    monkeypatch.setattr(Gateway, "_told", heard)
    monkeypatch.setattr(module, "Subscriber", from_first)
    monkeypatch.setattr(module, "CLAIM_EVERY_S", 0.05)
    with Publisher(analysis.journal, settings.daemon.events), run(microscope):
        until(told.is_set, "every old message")
        heard_by_then = len(claims)
        until(lambda: len(claims) >= heard_by_then + 3, "claims made after the last of them")
    assert told_of == list(range(1, len(old) + 1))
    assert all(answer.acts == () for answer in claims)
    assert microscope.moves == []
    assert microscope.touched == []
