"""What SWIFT accepts, and how a job becomes its command line.

Pure Python: no Django, no database, no clock. `catalogue` and `models` read what
`tools/swift_catalogue.py` wrote down of a SWIFT release, `rules` judges what a person typed,
`compiler` makes the argument list that a node starts.
"""
