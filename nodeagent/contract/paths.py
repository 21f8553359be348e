"""The fixed paths that a job sees, whatever the runtime.

A container gets real mounts at these places; the process runtime, which has no mounts, replaces the
prefixes by the folders behind them. So the argv frozen in SQL is the same for both.
"""

OUTPUT = "/lf/job/output"
EVENTS = "/lf/job/events.jsonl"
CONTROL = "/lf/job/control"
INPUTS = "/lf/inputs"
SECRETS = "/lf/job/run/secrets.json"  # name of an environment variable -> its value
MODEL = "/lf/model"
DATA = "/lf/data"  # datasets of a model hub: DATA/<n>/<name of the dataset>
PLUGIN = "/lf/plugin"
LEASE = "/lf/lease"  # of jobs that may be replaced elsewhere; has LEASE_FILE

# What a fetching program sees, and a job never does.
FETCH = "/lf/fetch"
FETCH_TOKEN = "/lf/fetch-token"  # noqa: S105 - where a token lies

# Inside a job's directory on the node (design.md section 6: relied on from outside).
CONSOLE_FILE = "console.log"
EVENTS_FILE = "events.jsonl"
OUTPUT_FOLDER = "output"
LEASE_FILE = "heard"
METRICS_FILE = "output/logging.jsonl"
