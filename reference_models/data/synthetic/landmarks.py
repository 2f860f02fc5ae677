"""The vertices of the head model that are dlib's 68 landmarks.

Found by ``make_landmarks.py``: dlib on the template, made symmetric, snapped to vertices, checked by eye.
"""

import numpy as np
from numpy.typing import NDArray

LANDMARKS: NDArray[np.int64] = np.array(
    [
        2249, 2107, 1684, 1722, 1720, 892, 743, 1037, 791, 3224, 2958, 3089, 3893, 3895, 3859, 4268, 4410,
        262, 231, 222, 208, 209, 2479, 2478, 2491, 2499, 2526, 133, 1543, 201, 673, 344, 331, 317,
        2588, 2600, 1060, 1055, 1496, 1501, 1492, 1068, 3683, 3678, 3242, 3247, 3255, 3674, 443, 698, 702,
        467, 2922, 2918, 2698, 2920, 2736, 492, 486, 700, 682, 471, 468, 2722, 2904, 2759, 493, 517,
    ]
)
"""Numbers of the vertices, in dlib's order."""
