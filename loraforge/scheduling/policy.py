"""Who goes where, and why another waits. Pure: facts in, decisions out.

Order: `turns`. The first that waits for devices holds them back: what is free on the node that is nearest to
fitting it is left free, so that small jobs behind it can never starve a large one. One that waits for a cap or
for the end of a reservation holds back nothing.
"""

from loraforge.scheduling.board import Board
from loraforge.scheduling.capping import Tally
from loraforge.scheduling.facts import (
    Decision,
    Placed,
    Reason,
    Situation,
    Waits,
    Want,
)
from loraforge.scheduling.turns import Turns


def decide(situation: Situation) -> Decision:
    """What to start now."""
    board = Board(situation)
    tally = Tally(situation.caps, situation.running)
    turns = Turns(situation)
    placed: list[Placed] = []
    waits: list[Waits] = []
    head_waits = False
    for want in turns:
        outcome = _one(want, board, tally, turns)
        if isinstance(outcome, Placed):
            placed.append(outcome)
            tally.add(want)
            continue
        if outcome.reason is Reason.NO_FREE_DEVICE and not head_waits:
            head_waits = True
            board.hold_back(want)
        detail = {**outcome.detail, "position": len(waits) + 1}
        waits.append(Waits(id=want.id, reason=outcome.reason, detail=detail))
    return Decision(placed=tuple(placed), waits=tuple(waits), aged=frozenset(turns.aged))


def _one(want: Want, board: Board, tally: Tally, turns: Turns) -> Placed | Waits:
    blocked = board.blocked(want)
    if blocked is not None:
        return blocked
    if want.budget_blocked is not None:  # nor does the end of a job help here
        return Waits(want.id, Reason.BUDGET, dict(want.budget_blocked))
    turns.spent(want)
    return tally.full(want) or board.fit(want)
