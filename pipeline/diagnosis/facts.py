"""What is read of a machine, before anybody judges it. Needs only the standard library."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Software:
    """Python and what is installed.

    Attributes:
      python: version, such as (3, 12, 1).
      executable: the interpreter, as commands name it.
      mirage: version, or empty where it isn't installed but imported from its folder.
      tensorflows: installed builds of TensorFlow by the name of their distribution, with their versions.
      tensorflow_folder: site-packages folder that `import tensorflow` takes; empty if there is none.
      tensorflow_broken: whether there is a folder `tensorflow` without its files.
      wanted: what the TensorFlow there asks for with `[and-cuda]`, such as "nvidia-cudnn-cu12<10.0,>=9.3.0.75".
      nvidia: installed packages of NVIDIA by name: (version, site-packages folder).
      keras: version, "unknown", or empty where it isn't there.
      onnxruntime: the same.
      absent: what training and export need besides, and is not installed.
    """

    python: tuple[int, int, int] = (3, 12, 0)
    executable: str = "python"
    mirage: str = ""
    tensorflows: dict[str, str] = dataclasses.field(default_factory=dict)
    tensorflow_folder: str = ""
    tensorflow_broken: bool = False
    wanted: tuple[str, ...] = ()
    nvidia: dict[str, tuple[str, str]] = dataclasses.field(default_factory=dict)
    keras: str = ""
    onnxruntime: str = ""
    absent: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class TensorFlow:
    """What TensorFlow says in a process of its own.

    Attributes:
      version: empty if it could not be imported.
      seconds: how long its import took.
      cuda: version of CUDA that it is built for; empty for builds without.
      cudnn: version of cuDNN that it is built for.
      capabilities: for which GPUs it has kernels, such as "sm_80" (machine code) or "compute_90" (PTX).
      gpus: names of the GPUs that it sees.
      missing: libraries that it could not open, with the reasons.
      said: what it said of GPUs.
      keras: Keras's version; empty if it could not be imported.
      backend: Keras's backend.
      keras_failure: why Keras could not be imported; empty if it was.
      failure: how the process failed; empty if it did not.
    """

    version: str = ""
    seconds: float = 0.0
    cuda: str = ""
    cudnn: str = ""
    capabilities: tuple[str, ...] = ()
    gpus: tuple[str, ...] = ()
    missing: dict[str, str] = dataclasses.field(default_factory=dict)
    said: tuple[str, ...] = ()
    keras: str = ""
    backend: str = ""
    keras_failure: str = ""
    failure: str = ""


@dataclasses.dataclass(frozen=True)
class Gpu:
    """A GPU as the driver sees it, whatever CUDA_VISIBLE_DEVICES says.

    Attributes:
      index: its number.
      name: such as "NVIDIA H200".
      uuid: such as "GPU-3f...".
      capability: compute capability, such as (9, 0).
      total: bytes of memory, or None if the driver doesn't say.
      free: bytes that nobody uses, or None.
      processes: (process id, bytes) of those that compute on it; bytes are None where the driver doesn't say.
      mig: whether it is to be cut into instances.
      instances: number of its instances.
      compute_mode: 0 shared, 2 prohibited, 3 exclusive to one process.
      ecc_errors: uncorrected errors of its memory since the driver was loaded.
    """

    index: int
    name: str
    uuid: str = ""
    capability: tuple[int, int] | None = None
    total: int | None = None
    free: int | None = None
    processes: tuple[tuple[int, int | None], ...] = ()
    mig: bool = False
    instances: int = 0
    compute_mode: int = 0
    ecc_errors: int = 0


@dataclasses.dataclass(frozen=True)
class Driver:
    """NVIDIA's driver, and the hardware as the system sees it.

    Attributes:
      pci: for each NVIDIA GPU on the bus, the kernel's driver for it; empty strings where there is none.
      nodes: device files, each with whether this user may use it.
      module: version of the kernel's module; empty if it isn't loaded.
      libcuda: file of libcuda.so.1, or empty.
      libcuda_failure: why it could not be opened.
      nvml_failure: why libnvidia-ml.so.1 could not be opened or started; empty if it was.
      version: version of the driver, as NVML says.
      cuda: the newest CUDA that the driver supports, such as (13, 0); None if unknown.
      init: what cuInit returned in this environment, or None.
      visible: number of GPUs that CUDA sees in this environment.
      gpus: the GPUs.
      container: whether this looks like a container.
      failure: how the process that looked failed; empty if it did not.
    """

    pci: tuple[str, ...] = ()
    nodes: dict[str, bool] = dataclasses.field(default_factory=dict)
    module: str = ""
    libcuda: str = ""
    libcuda_failure: str = ""
    nvml_failure: str = ""
    version: str = ""
    cuda: tuple[int, int] | None = None
    init: int | None = None
    visible: int = 0
    gpus: tuple[Gpu, ...] = ()
    container: bool = False
    failure: str = ""

    @property
    def hardware(self) -> bool:
        """Whether there is any sign of an NVIDIA GPU."""
        return bool(self.pci or self.nodes or self.module or self.gpus or self.visible)


@dataclasses.dataclass(frozen=True)
class Libraries:
    """What TensorFlow opens to compute on GPUs, tried in the order in which it would look.

    Attributes:
      opened: names of libraries with the files that were found.
      failed: names of libraries with the reasons why they could not be opened.
      elsewhere: of these, files that are there, but where TensorFlow doesn't look.
      cudart: versions of CUDA of which there are libraries, such as "13".
      cudnn: version of the cuDNN that was opened, such as (9, 3, 0).
      ptxas: file that XLA would take, or empty.
      ptxas_version: its version.
      libdevice: file that XLA would take, or empty.
      failure: how the process that looked failed; empty if it did not.
    """

    opened: dict[str, str] = dataclasses.field(default_factory=dict)
    failed: dict[str, str] = dataclasses.field(default_factory=dict)
    elsewhere: dict[str, str] = dataclasses.field(default_factory=dict)
    cudart: tuple[str, ...] = ()
    cudnn: tuple[int, int, int] | None = None
    ptxas: str = ""
    ptxas_version: str = ""
    libdevice: str = ""
    failure: str = ""


@dataclasses.dataclass(frozen=True)
class Folder:
    """A folder that training writes.

    Attributes:
      path: the folder.
      probed: it, or the nearest one above it that exists.
      free: free bytes, or None.
      write: bytes per second of a file that is written to the disk, or None if none was written.
      read: bytes per second, or None.
      failure: why it can't be used; empty if it can.
    """

    path: str
    probed: str = ""
    free: int | None = None
    write: float | None = None
    read: float | None = None
    failure: str = ""


@dataclasses.dataclass(frozen=True)
class Machine:
    """Processor, memory and disk.

    Attributes:
      architecture: such as "x86_64".
      cpu: the processor's name.
      cores: logical cores of the machine.
      allowed: cores that this process may run on.
      quota: cores that a control group grants, or None.
      instructions: the processor's instructions, as Linux names them.
      memory: bytes, or None if unknown.
      available: bytes that can be had without swapping, or None.
      limit: bytes that a control group grants, or None.
      shm_free: free bytes of /dev/shm, or None.
      folders: folders that training writes.
    """

    architecture: str = "x86_64"
    cpu: str = ""
    cores: int = 1
    allowed: int = 1
    quota: float | None = None
    instructions: frozenset[str] = frozenset()
    memory: int | None = None
    available: int | None = None
    limit: int | None = None
    shm_free: int | None = None
    folders: tuple[Folder, ...] = ()


@dataclasses.dataclass(frozen=True)
class Peer:
    """Another worker, or this one's own address.

    Attributes:
      index: its number.
      address: host:port.
      own: whether it is this worker.
      addresses: what the host's name resolves to.
      result: of another worker: "answers", "refused", "silent", "unreachable" or "unknown" (no such name); of this
        one: "free" or "used".
      reason: the system's words, or empty.
    """

    index: int
    address: str
    own: bool = False
    addresses: tuple[str, ...] = ()
    result: str = ""
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class Network:
    """The cluster that the environment describes.

    Attributes:
      source: "TF_CONFIG", "Slurm", or empty.
      failure: what is wrong with the description; empty if nothing is.
      peers: all workers; empty where this process stands alone.
    """

    source: str = ""
    failure: str = ""
    peers: tuple[Peer, ...] = ()


@dataclasses.dataclass(frozen=True)
class Step:
    """A trial of training steps.

    Attributes:
      devices: where, such as ("gpu:0",).
      images_per_s: training images a second; None if it did not come so far.
      steps: number of steps that were timed.
      seconds: how long until the first steps were done.
      finite: whether all losses were finite.
      replicas_agree: whether all replicas ended with the same bits; None for one.
      xla: what became of a function that XLA compiled: "works", or what went wrong.
      failure: how it failed; empty if it did not.
      stage: what was going on when it failed.
    """

    devices: tuple[str, ...]
    images_per_s: float | None = None
    steps: int = 0
    seconds: float | None = None
    finite: bool = True
    replicas_agree: bool | None = None
    xla: str = ""
    failure: str = ""
    stage: str = ""


@dataclasses.dataclass(frozen=True)
class Facts:
    """All of them.

    Attributes:
      environment: the environment variables that matter, those that are set.
    """

    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    software: Software = dataclasses.field(default_factory=Software)
    tensorflow: TensorFlow = dataclasses.field(default_factory=TensorFlow)
    driver: Driver = dataclasses.field(default_factory=Driver)
    libraries: Libraries = dataclasses.field(default_factory=Libraries)
    machine: Machine = dataclasses.field(default_factory=Machine)
    network: Network = dataclasses.field(default_factory=Network)
    steps: tuple[Step, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        document = dataclasses.asdict(self)
        document["machine"]["instructions"] = sorted(self.machine.instructions)
        return document
