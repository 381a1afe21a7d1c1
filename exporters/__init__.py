"""Everything that makes a model.

`exporters.sources`, `exporters.exporting` and `exporters.finetuning` need torch: networks by name, their export to one
.onnx file, fine-tuning. `exporters.quantizing` does not. The everyday calls are functions of :mod:`inspector`.
"""
