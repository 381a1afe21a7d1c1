"""Tests of inspector.render and inspector.output."""
