"""Everything that a person opens: galleries, overlays, sheets of filters, the report."""
