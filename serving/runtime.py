"""onnxruntime, as all of Mirage uses it: it reports nothing to its maker.

Official builds of onnxruntime describe the machine and the program to Microsoft, over the network and in a data base
below ~/.cache, unless the environment variable ORT_DISABLE_TELEMETRY is 1 when they are imported. So they are imported
here and nowhere else. A variable that is set already stays as it is: `ORT_DISABLE_TELEMETRY=0` allows the reports.
"""

import os
import sys

_VARIABLE = "ORT_DISABLE_TELEMETRY"

if _VARIABLE not in os.environ:
    too_late = "onnxruntime" in sys.modules
    os.environ[_VARIABLE] = "1"  # for the processes that this one starts, too
    import onnxruntime as ort

    if too_late:
        # It has begun already, and no call ends that; but what it will tell of models and errors can be left out.
        ort.disable_telemetry_events()
else:
    import onnxruntime as ort

__all__ = ["ort"]
