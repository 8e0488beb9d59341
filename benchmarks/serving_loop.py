"""What a machine can do without a server: `python -m benchmarks.serving_loop BUNDLE THREADS BATCH SECONDS`.

Prints the images per second of threads that do nothing but `InferenceSession.run`, on one session whose calls take
one thread each, as the server's do.
"""

import sys
import threading
import time
from pathlib import Path

import numpy as np

from serving.contract.latents import latents
from serving.contract.manifest import GENERATOR_FILE
from serving.generator import Generator, open_session


def images_per_second(bundle: str, threads: int, batch: int, seconds: float) -> float:
    """Runs the loop."""
    generator = Generator.load(bundle, threads=1)
    session = open_session(Path(bundle) / GENERATOR_FILE, 1)
    feeds: dict[str, np.ndarray] = {"z": latents(range(batch), generator.latent_dim)}
    labels = generator.check_labels(None, batch)
    if labels is not None:
        feeds["label"] = labels
    for _ in range(5):
        session.run(["image"], feeds)
    begin = time.perf_counter()
    counts = [0] * threads
    ends = [begin] * threads

    def work(number: int) -> None:
        while ends[number] < begin + seconds:
            session.run(["image"], feeds)
            counts[number] += batch
            ends[number] = time.perf_counter()

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return float(np.sum(np.array(counts) / (np.array(ends) - begin)))


if __name__ == "__main__":
    print(images_per_second(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
