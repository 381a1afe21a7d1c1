"""Fine-tuning: a new head on a base, the base frozen, the head trained, layers unfrozen, all trained jointly.

:mod:`exporters.planning` says what will be done. Here it is done, with torch: ``features`` and ``cache`` what is
frozen, computed once · ``network`` what is trained · ``train`` steps 3 and 5 · ``finish`` the .onnx and its proof ·
``report`` the pictures of a run · ``run`` the whole.
"""

from exporters.finetuning.finish import export_run
from exporters.finetuning.run import finetune, plan_finetune

__all__ = ["export_run", "finetune", "plan_finetune"]
