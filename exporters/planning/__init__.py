"""What a fine-tuning run is going to do, before anything is trained. No torch.

``options`` every choice · ``dataset`` labelled pictures and their splits · ``augment`` versions of a picture ·
``head`` step 1, the new head · ``boundary`` step 4, where the frozen part ends · ``places`` where batch norms go ·
``plan`` all five steps made visible.
"""
