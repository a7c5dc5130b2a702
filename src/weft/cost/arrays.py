"""The array type of the cost model: every quantity may be one number or a whole curve."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
