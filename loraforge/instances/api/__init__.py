"""REST entry points of instances, and of nodes, whose devices instances hold."""
