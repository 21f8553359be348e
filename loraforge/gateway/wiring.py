"""Subscriptions and periodic work of this app; imported once by AppConfig.ready()."""

from loraforge.core import beat, events
from loraforge.gateway.reconcile import dataset_deleting, node_state_changed

events.subscribe(events.NODE_STATE_CHANGED, node_state_changed)
events.subscribe(events.DATASET_DELETING, dataset_deleting)

beat.every(5, "gateway.nodes_review")
beat.every(600, "gateway.acks_trim")
