"""The vertices that are dlib's 68 landmarks."""

import numpy as np

LANDMARKS = np.arange(68) * 10
