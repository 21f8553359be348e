"""Moving trainings between nodes: the saga, draining a node, models fetched ahead."""
