"""One run of the network for all that is asked about one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.runtime import Sessions


@dataclass
class SharedSessions(Sessions):
    """Sessions that compute what is asked about one picture in one run, however many ask.

    What is asked about a picture is remembered, and asked of the next one at once: the first picture after a change
    may need a few runs, every other needs one. It is not for several threads at once.

    Attributes:
        runs: Runs of the network so far.
    """

    runs: int = 0
    _feeds: dict[str, NDArray[Any]] = field(default_factory=dict, repr=False)
    _values: dict[str, NDArray[Any]] = field(default_factory=dict, repr=False)
    _asked: dict[object, dict[str, None]] = field(default_factory=dict, repr=False)
    _kind: object = None
    _key: object = None

    def begin(self, feeds: Mapping[str, NDArray[Any]], names: Sequence[str], key: object, kind: object = None) -> None:
        """Begin with the next picture.

        Args:
            feeds: Its input tensor, by the name of the input.
            names: Tensors that are going to be asked for, as far as that is known.
            key: What is wanted of the pictures: while it stays, they are asked the same. With another one the sessions
                that are open are closed, so that no more than a few are open at a time.
            kind: Pictures of some kinds may be asked more than others; each kind has a session of its own.
        """
        if key != self._key:
            self._key = key
            self._asked.clear()
            self._kept.clear()
        self._kind = kind
        self._asked.setdefault(kind, {}).update(dict.fromkeys(names))
        plans = {tuple(asked) for asked in self._asked.values()}
        for made in [made for made in self._kept if made[1] is None and made[0] not in plans]:
            del self._kept[made]
        self._judged = {made: size for made, size in self._judged.items() if made in self._kept}
        self._feeds = dict(feeds)
        self._values = self._run_plain(feeds, self.plan) if self.plan else {}

    @property
    def plan(self) -> tuple[str, ...]:
        """The tensors that are computed of the present picture."""
        return tuple(self._asked.get(self._kind, ()))

    def end(self) -> None:
        """Let go of the picture."""
        self._feeds, self._values = {}, {}

    def run(self, feeds: Mapping[str, NDArray[Any]], tensors: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Give what was computed of the present picture, and compute what is new. Other pictures are simply run.

        Args:
            feeds: Name of a graph input -> array.
            tensors: Names of tensors of the graph.
        """
        if not self._is_present(feeds):
            return self._run_plain(feeds, tensors)
        missing = [name for name in dict.fromkeys(tensors) if name not in self._values]
        if missing:
            self._values |= self._run_plain(feeds, missing)
            self._asked[self._kind].update(dict.fromkeys(missing))
        return {name: self._values[name] for name in tensors}

    def _is_present(self, feeds: Mapping[str, NDArray[Any]]) -> bool:
        if feeds.keys() != self._feeds.keys():
            return False
        # A graph with a fixed batch gets copies.
        pairs = [(array, self._feeds[name]) for name, array in feeds.items()]
        return all(one is other or np.array_equal(one, other) for one, other in pairs)

    def _run_plain(self, feeds: Mapping[str, NDArray[Any]], tensors: Sequence[str]) -> dict[str, NDArray[Any]]:
        self.runs += 1
        return super().run(feeds, tensors)
