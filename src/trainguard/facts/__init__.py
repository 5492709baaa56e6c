"""Facts: frozen records of what was observed, one module per kind of evidence.

A fact states what is, never whether it is good. Facts import nothing but the standard library,
so a check that judges them runs anywhere and in microseconds.

A module that a check's example may use (its fenced blocks are named after the module) also
offers `from_notation(lines) -> Mapping[type, Any]`; see `notation`.
"""
