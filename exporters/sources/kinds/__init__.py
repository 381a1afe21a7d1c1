"""The kinds of SOURCE, one file each; a file that is put here is a kind.

A file ``NAME.py`` is asked for a SOURCE that is written ``NAME:...``. Its docstring begins with that form and a colon.
It has ``LIBRARY``, whether it is a library with weights and preprocesses of its own, and
``load(request: SourceRequest) -> Source``. Help and errors list it by themselves.
"""
