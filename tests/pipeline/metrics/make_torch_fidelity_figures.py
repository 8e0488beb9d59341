"""Writes torch_fidelity.json: what torch-fidelity says of features that anybody can make again.

Run it with an interpreter that has torch-fidelity: python tests/pipeline/metrics/make_torch_fidelity_figures.py
"""

import json
from pathlib import Path

import numpy as np

FIGURES = Path(__file__).with_name("torch_fidelity.json")


def features(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Generated and real features of a case, float32 [n, d] and [m, d]."""
    rng = np.random.RandomState(0)  # whose numbers are the same in all versions
    if name == "near":
        return rng.randn(120, 8).astype(np.float32), rng.randn(120, 8).astype(np.float32)
    return (0.6 * rng.randn(80, 16) + 0.3).astype(np.float32), np.abs(rng.randn(80, 16)).astype(np.float32)


if __name__ == "__main__":
    import torch
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric
    from torch_fidelity.metric_prc import prc_features_to_metric

    figures = {}
    for case in ("near", "far"):
        generated, real = (torch.from_numpy(each) for each in features(case))
        # One subset of all samples, so that nothing is drawn.
        kernel = kid_features_to_metric(generated, real, kid_subsets=1, kid_subset_size=len(real), verbose=False)
        balls = prc_features_to_metric(generated, real, prc_neighborhood=3, verbose=False)
        statistics = [fid_features_to_statistics(each) for each in (generated, real)]
        distance = fid_statistics_to_metric(*statistics, verbose=False)
        figures[case] = {**kernel, **balls, **distance}
    FIGURES.write_text(json.dumps(figures, indent=2, default=float) + "\n", encoding="utf-8")
