"""Everything that draws: numpy and Pillow only, and nothing here knows a model. Each module is imported by itself."""
