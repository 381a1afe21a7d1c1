"""Everything that makes a model.

`exporters.sources` (networks by name), `exporters.exporting` (their export to one .onnx file) and
`exporters.finetuning` need torch. `exporters.planning` (what a fine-tuning run is going to do) and
`exporters.quantizing` do not. The everyday calls are functions of :mod:`inspector`.
"""
