"""The forms of SWIFT's modules as data: what each shows first, under which conditions, and in which words.

`modules.json` has the modules, `groups.json` the fields that each shows first, `fields.json` their labels
in both languages, `visibility.json` when a field (or a whole section of `loraforge.swift.help`) means
something at all, `environment.json` the variables that a job may be given. Whatever else the catalogue
has stands under its section. Pure, as the rest of `loraforge.swift`.
"""
