"""Where two networks part: layers matched, each measured on its own and on the other's values."""

from inspector.comparing.compare import ComparedSides, Side, compare_sides
from inspector.comparing.cutting import Engine, SessionEngine
from inspector.comparing.made import make_pictures
from inspector.comparing.matching import LayerMatch, Matching, match_layers
from inspector.comparing.result import AnswerDifference, FlippedPicture, LayerDifference, ModelDifference
from inspector.comparing.runtimes import choose_runtime, list_runtimes, use_model
from inspector.comparing.sums import PairSums
from inspector.comparing.tuning import ChannelChange, LayerChange, TuningChange, check_run, match_input, measure_change
from inspector.comparing.values import RunPair

__all__ = [
    "AnswerDifference",
    "ChannelChange",
    "ComparedSides",
    "Engine",
    "FlippedPicture",
    "LayerChange",
    "LayerDifference",
    "LayerMatch",
    "Matching",
    "ModelDifference",
    "PairSums",
    "RunPair",
    "SessionEngine",
    "Side",
    "TuningChange",
    "check_run",
    "choose_runtime",
    "compare_sides",
    "list_runtimes",
    "make_pictures",
    "match_input",
    "match_layers",
    "measure_change",
    "use_model",
]
