"""Phases of an attempt on its node. Phases are what a node agent sees; states belong to the control plane."""

from enum import StrEnum


class Phase(StrEnum):
    """Order of a normal life: ACCEPTED, PREPARING, STARTING, RUNNING, FINISHING, ENDED."""

    ACCEPTED = "accepted"  # journalled, nothing done yet
    PREPARING = "preparing"  # inputs are fetched and verified
    STARTING = "starting"  # the runtime was asked to start
    RUNNING = "running"  # the process exists
    FINISHING = "finishing"  # the process ended; files are hashed, tails drained
    ENDED = "ended"  # everything is reported; exit_code or reason tells how
    REFUSED = (
        "refused"  # never started: tombstone, bad spec, path outside the roots, no such device
    )

    @property
    def is_final(self) -> bool:
        """Nothing follows on this node for this attempt."""
        return self in {Phase.ENDED, Phase.REFUSED}


class StepName(StrEnum):
    """The steps of getting ready that a node tells, in this order; what a job does not need is left out."""

    IMAGE = "image"
    MODEL = "model"
    DATA = "data"
    CONTAINER = "container"


# The reason of an attempt that was given up since a step took longer than the node allows.
PREPARE_TIMEOUT = "node:prepare_timeout"


class Outcome(StrEnum):
    """What the trainer itself last said through the plugin's events, judged together with the exit code."""

    NONE = "none"  # no closing event: it crashed, was killed, or never loaded the plugin
    TRAIN_END = "train_end"  # trained to the end
    STOPPED = "stopped"  # stopped on request, after a checkpoint
