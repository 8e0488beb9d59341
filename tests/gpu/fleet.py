"""Trainings in processes of their own, many at once: starting and compiling take far longer than training."""

import dataclasses
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.base.hardware import cpu_quota, memory_limit
from tests.pipeline.training.test_endurance import flags
from tests.processes import ENVIRONMENT, ROOT, last_checkpoint, saved

NETWORKS = ("dcgan", "resnet")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
# What a run that is killed must not depend on.
CASES = {
    f"{precision}-{'xla' if jit == 'on' else 'plain'}": {"precision": precision, "jit": jit, "strategy": "one_device"}
    for precision in PRECISIONS
    for jit in ("on", "off")
} | {"two-replicas": {"virtual_devices": 2, "strategy": "mirrored", "jit": "off"}}

_SMALL_R3GAN = {
    "model": "r3gan",
    "model_args": "width=16,group=8,blocks=1",
    "image_size": 32,
    "objective": "r3gan",
    "gamma": 0.1,
}
_SMALL_STYLEGAN2 = {
    "model": "stylegan2",
    "model_args": "channel_base=256,channel_max=16,w_dim=16,mapping_layers=2",
    "image_size": 32,
    "r1": 1,
    "penalty_every": 2,
    "style_mixing": 0.9,
    "path_length": 2,
    "path_length_every": 2,
}
_ADA = {"augment": "blit,geom,ada_color,filter,noise,cutout", "augment_p": 0.5}
# What else a device must have kernels for, deterministic ones, without XLA and with it.
KINDS = {
    "mlp-vae": {"model": "mlp", "objective": "vae", "sigma": 0.3},
    "mlp-minimax": {"model": "mlp", "objective": "minimax"},
    "dcgan-autoencoder": {"model": "dcgan", "objective": "autoencoder"},
    "dcgan-codes": {"model": "dcgan", "categories": 4, "codes": 1, "spectral_norm": True},
    "dcgan-augmented": {"model": "dcgan", "objective": "lsgan", "augment": "translation,cutout,color", "flip": True},
    "dcgan-ada": {"model": "dcgan", "objective": "hinge", **_ADA, "augment_adaptive": True},
    "resnet-acgan": {"model": "resnet", "objective": "wgan_gp", "conditional": True, "conditioning": "acgan"},
    "resnet-sgan": {"model": "resnet", "discriminator": "noisy_mlp", "objective": "sgan", "labelled": 8},
    "r3gan-ada": {**_SMALL_R3GAN, **_ADA, "conditional": True, "precision": "mixed_bfloat16"},
    "stylegan2-float16": {**_SMALL_STYLEGAN2, "precision": "mixed_float16"},
    "stylegan2-ada": {**_SMALL_STYLEGAN2, **_ADA, "conditional": True},
    "projected": {"model": "dcgan", "discriminator": "projected", "objective": "hinge", "image_size": 32},
}

_GIB_OF_A_PROCESS = 5  # of host and of device


@dataclasses.dataclass(frozen=True)
class Scale:
    """How much is trained.

    Attributes:
      networks: flags of what is killed.
      steps: its steps.
      save_every: steps between its checkpoints.
      user_steps: steps of the runs that are exported.
      user: flags of those, besides the default ones.
      timeout_s: time that a process may take.
      early_s: seconds of which imports and the first compilation take the most.
    """

    networks: dict
    steps: int
    save_every: int
    user_steps: int
    user: dict
    timeout_s: float
    early_s: float


_ON_A_GPU = Scale(
    networks={"model": "dcgan", "objective": "r3gan", "batch_size": 16},
    steps=400,
    save_every=25,
    user_steps=300,
    user={"dataset": "mnist5k"},
    timeout_s=170,
    early_s=20,
)
_ON_A_CPU = Scale(
    networks={},
    steps=600,
    save_every=25,
    user_steps=4,
    user={"batch_size": 4, "log_every": 2},
    timeout_s=300,
    early_s=8,
)


@dataclasses.dataclass(frozen=True)
class Run:
    """How a run ended.

    Attributes:
      folder: what it has written.
      status: exit status of its last process.
      said: what its processes have printed.
    """

    folder: Path
    status: int
    said: str


class Fleet:
    """Runs by name, of which each is begun once. Use it as a context manager.

    straight:CASE  a run of one of `CASES`
    killed:CASE    the same, killed at a random moment, and continued
    user:NETWORK   what a user would train: default flags, with evaluations and a profile
    again:NETWORK  the same once more
    kind:KIND      one of `KINDS`, some steps without XLA, then some more with it
    without_determinism:, short_of_memory:
    export:NETWORK, export_without_gpu:NETWORK  a bundle of user:NETWORK, where GPUs are seen, and where they aren't
    """

    def __init__(self, gpu: bool, folder: Path, out: Path | None) -> None:
        self.gpu = gpu
        self.scale = _ON_A_GPU if gpu else _ON_A_CPU
        self.out = out
        self._folder = folder
        self._runs: dict[str, Future] = {}
        self._processes: list[subprocess.Popen] = []
        self._closed = False
        # In the order in which they were begun, so that one may wait for another that was begun before it.
        self._pool = ThreadPoolExecutor(at_once(gpu))
        self.images = _write_images(folder / "images")

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in self._processes:
            process.kill()
        self._pool.shutdown()

    def begin(self, name: str) -> Future:
        if name not in self._runs:
            kind, _, case = name.partition(":")
            if kind in ("export", "export_without_gpu"):
                self.begin(f"user:{case}")
            folder = self._folder / name.replace(":", "-")
            self._runs[name] = self._pool.submit(getattr(self, f"_{kind}"), case, folder)
        return self._runs[name]

    def result(self, name: str) -> Run:
        return self.begin(name).result()

    def arguments(self, case: str, folder: Path, **more) -> list[str]:
        """Flags of a run of one of `CASES`."""
        own = {"checkpoint_every": self.scale.save_every, "log_every": 20, "data_dir": f"{folder}-data"}
        steps = more.pop("steps", self.scale.steps)
        return flags(self.images, folder, steps, **{**self.scale.networks, **own, **CASES[case], **more})

    def start(self, log: Path, module: str, *arguments, **environment) -> subprocess.Popen:
        # What the fixture `gpu` has set since ENVIRONMENT was made.
        here = {name: os.environ[name] for name in ("CUDA_VISIBLE_DEVICES", "TF_FORCE_GPU_ALLOW_GROWTH")}
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *map(str, arguments)],
                cwd=ROOT, env={**ENVIRONMENT, **here, **environment}, stdout=output, stderr=output,
            )  # fmt: skip
        self._processes.append(process)
        if self._closed:
            process.kill()
        return process

    def run(self, folder: Path, module: str, *arguments, **environment) -> Run:
        """Runs a process to its end."""
        log = folder.with_suffix(".log")
        process = self.start(log, module, *arguments, **environment)
        try:
            process.wait(self.scale.timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        return Run(folder, process.returncode, log.read_text(errors="replace"))

    def kill(self, folder: Path, arguments: list[str], step: int, more_s: float) -> None:
        """Trains until a step has been saved and `more_s` longer, and kills the process."""
        log = folder.with_suffix(".log")
        process = self.start(log, "pipeline", *arguments)
        deadline = time.monotonic() + self.scale.timeout_s
        while not (names := saved(folder)) or int(names[-1].removeprefix("step_")) < step:
            said = log.read_text(errors="replace")[-1500:]
            assert process.poll() is None, f"it ended with {process.returncode} before it was killed: {said}"
            assert time.monotonic() < deadline, f"step {step} was not saved: {said}"
            time.sleep(0.01)
        time.sleep(more_s)
        process.kill()
        assert process.wait() == -signal.SIGKILL, "it ended before it was killed; it must have more steps"

    def _straight(self, case: str, folder: Path) -> Run:
        return self.run(folder, "pipeline", *self.arguments(case, folder))

    def _killed(self, case: str, folder: Path) -> Run:
        moments, arguments = random.Random(case), self.arguments(case, folder)
        self.kill(folder, arguments, moments.randrange(self.scale.steps // 2), moments.uniform(0, 0.05))
        return self.run(folder, "pipeline", *arguments)

    def _user(self, network: str, folder: Path) -> Run:
        steps = self.scale.user_steps
        values = {
            "model": network,
            "conditional": "true",
            "dataset": f"folder:{self.images}",
            "steps": steps,
            "checkpoint_every": steps,
            "keep_checkpoints": 1,
            "eval_every": steps // 2,
            "eval_samples": 100,
            "extractor": "classifier",
            "profile_steps": f"{steps // 4}:{steps // 4 + 2}",
            "run_dir": folder,
            "data_dir": f"{folder}-data",
            **self.scale.user,
        }
        return self.run(folder, "pipeline", *(f"--{name}={value}" for name, value in values.items()))

    _again = _user

    def _kind(self, kind: str, folder: Path) -> Run:
        own = {"latent_dim": 16, "batch_size": 8, "log_every": 1, "data_dir": f"{folder}-data", **KINDS[kind]}
        for jit, steps in (("off", 4), ("on", 8)):
            run = self.run(folder, "pipeline", *flags(self.images, folder, steps, **{**own, "jit": jit}))
            if run.status:
                return run
        return run

    def _without_determinism(self, _: str, folder: Path) -> Run:
        return self.run(folder, "pipeline", *self.arguments("float32-plain", folder, steps=2), "--nodeterministic")

    def _short_of_memory(self, _: str, folder: Path) -> Run:
        own = {"dataset": "mnist5k", "batch_size": 2048 if self.gpu else 4, "checkpoint_every": 2, "steps_per_call": 1}
        return self.run(folder, "tests.gpu.short_of_memory", *self.arguments("float32-plain", folder, steps=4, **own))

    def _export(self, network: str, folder: Path, **environment) -> Run:
        run = self.result(f"user:{network}")
        assert run.status == 0, run.said[-3000:]
        environment["SOURCE_DATE_EPOCH"] = "1700000000"
        return self.run(folder, "export", f"--run_dir={run.folder}", f"--out={folder}", **environment)

    def _export_without_gpu(self, network: str, folder: Path) -> Run:
        return self._export(network, folder, CUDA_VISIBLE_DEVICES="-1")

    def keep(self, name: str, folder: Path) -> None:
        """Copies a folder to where the session's results are wanted, if anywhere."""
        if self.out:
            shutil.copytree(folder, self.out / name)


def at_once(gpu: bool) -> int:
    """Number of processes that find room on this machine."""
    room = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *filter(None, [memory_limit()])]
    cores = [len(os.sched_getaffinity(0)), *filter(None, [cpu_quota()])]
    if gpu:
        from pipeline.devices.gpu_memory import gpu_memory

        room += [each.free for each in gpu_memory()[:1]]
    return max(1, min(int(min(cores)), min(room) // (_GIB_OF_A_PROCESS * 2**30)))


def difference(a: Path, b: Path) -> str:
    """Says how the last checkpoints and previews of two runs differ; empty if in no bit."""
    ours, theirs = last_checkpoint(a), last_checkpoint(b)
    if ours.keys() != theirs.keys():
        return f"they hold other arrays: {sorted(ours.keys() ^ theirs.keys())}"
    apart = {name: float(np.abs(np.subtract(array, theirs[name], dtype=np.float64)).max(initial=0))
             for name, array in ours.items() if array.tobytes() != theirs[name].tobytes()}  # fmt: skip
    if apart:
        most = max(apart, key=apart.__getitem__)
        return f"{len(apart)} of {len(ours)} arrays differ, most by {apart[most]:.3g} ({most})"
    pictures = [sorted((each / "samples").iterdir())[-1] for each in (a, b)]
    same = pictures[0].name == pictures[1].name and pictures[0].read_bytes() == pictures[1].read_bytes()
    return "" if same else "their last previews differ"


def ended(runs):
    for run in runs:
        assert run.status == 0, f"{run.folder.name} ended with {run.status}: {run.said[-3000:]}"


def each(*kinds, of):
    """Parametrises a test with runs of those kinds, for each of some cases."""
    values = [tuple(f"{kind}:{case}" for kind in kinds) for case in of]
    return pytest.mark.parametrize("runs", values, ids=list(of), indirect=True)


def _write_images(folder: Path) -> Path:
    """Writes random pictures of two classes."""
    for index in range(64):
        pixels = np.random.default_rng(index).integers(0, 256, (16, 16), dtype=np.uint8)
        place = folder / ("cat", "dog")[index % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{index}.png")
    return folder
