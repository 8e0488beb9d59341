"""Makes a sheet of pictures. Needs `pip install mirage-gan pillow`, and no TensorFlow.

python sample.py path/to/bundle sheet.png [attributes, such as male=1 age=30]
"""

import sys

import numpy as np
from PIL import Image

from serving import Generator

generator = Generator.load(sys.argv[1])
attributes = {name: float(value) for name, _, value in (text.rpartition("=") for text in sys.argv[3:])} or None
rows = [generator.sample(10, seed=10 * row, attributes=attributes, truncation=0.9) for row in range(6)]
sheet = np.concatenate([np.concatenate(list(row), axis=1) for row in rows])
Image.fromarray(sheet.squeeze()).save(sys.argv[2])
