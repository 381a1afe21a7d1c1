"""The difference from a reference, which is an earlier model or a snapshot of one."""
