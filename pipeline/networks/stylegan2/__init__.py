"""StyleGAN2 (Karras et al. 2020, arXiv 1912.04958), as the code of its successors has it (arXiv 2006.06676).

`architecture.py`: which layers, in which order. Layers: `equalised.py`, whose learning rates are equal in effect;
`modulated.py`, those of the synthesis; `resampling.py`, filtered doubling and halving; `statistics.py`, what knows more
than one number. Importing this doesn't load TensorFlow.
"""
