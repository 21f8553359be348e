"""The node agent: runs on a machine with GPUs, starts trainings there and reports back.

It knows neither Django nor the control plane's code; `nodeagent.contract` is all that both share.
"""

__version__ = "0.1.0"
