"""Tests of inspector.render and inspector.files."""
