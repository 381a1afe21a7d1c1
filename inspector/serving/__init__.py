"""`inspector live`: a page served by the device that has the camera, with the network at work on it."""

from inspector.serving.live import LiveAddress, LiveOptions, LiveSummary, run_live

__all__ = ["LiveAddress", "LiveOptions", "LiveSummary", "run_live"]
