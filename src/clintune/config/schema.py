"""The keys of a recipe.

A key that is neither here nor in the signature of a `_target_` is refused. No torch here: a config
must be checked in under a second.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args, get_origin

from omegaconf import MISSING

from clintune.config.places import default_cache, default_raw

MOST = 1_000_000_000
"""Largest number that a recipe may hold."""
MOST_HOURS = 10_000_000
"""Longest history in hours: more than a thousand years."""


def one_of(*choices: str | None) -> Any:
    """Return a field that takes one of these values; the first is the default."""
    return field(default=choices[0], metadata={"choices": choices})


def bounded(default: Any, least: float, most: float = MOST) -> Any:
    """Return a field for a number within bounds; it may be null if its default is."""
    return field(default=default, metadata={"bounds": (least, most)})


def entry_of(kind: Any) -> Any:
    """Return the type of the entries of a mapping by name; None for any other type."""
    return get_args(kind)[1] if get_origin(kind) is Mapping else None


@dataclass(frozen=True)
class Splits:
    """How subjects are split if the cohort has no `metadata/subject_splits.parquet`."""

    tuning: float = bounded(0.15, 0, 1)
    held_out: float = bounded(0.15, 0, 1)
    stratify: str | None = None
    """Name of a task whose label the splits and folds balance."""
    seed: int = bounded(0, 0)
    group: str | None = None
    """Column of the cohort's table of groups.

    Without `cv`, the subjects of `held_out_groups` are held out.
    """
    held_out_groups: list[str] = field(default_factory=list)
    train_share: float = bounded(1.0, 0, 1)
    """Share of the training subjects that train; the others take no part.

    The subjects of a smaller share are among those of a larger one.
    """


@dataclass(frozen=True)
class Cohort:
    """One MEDS cohort with media columns."""

    root: str = MISSING
    """A folder, or a URL that fsspec reads (s3://bucket/cohort) and copies to `data.cache`."""
    storage: Any = None
    """Mapping of options for fsspec beside the environment, as `endpoint_url`; no secrets."""
    source: Any = None
    """A `_target_`, importer or generator, that writes the cohort to `root`.

    It runs if the cohort is missing or the settings of the source changed.
    """
    splits: Splits = field(default_factory=Splits)
    folds: str | None = None
    """Parquet or CSV file with subject_id and fold, relative to `root`; used if `cv` is set."""
    groups: str | None = None
    """Parquet or CSV file, relative to `root`, of the groups by which results are reported.

    It has subject_id and a column for each grouping (site, device).
    """
    lookback_hours: float | None = bounded(None, 0, MOST_HOURS)
    """Hours before the prediction time; older items are left out.

    Null keeps the whole history, 0 keeps only items at the prediction time.
    """
    unknown_subjects: str = one_of("error", "drop")
    """What happens to labels of a subject without any data: `drop` counts and leaves them out."""


@dataclass(frozen=True)
class Data:
    """Where data come from, and where they go."""

    raw: str = field(default_factory=default_raw)
    """Folder of the raw files of public data; default CLINTUNE_DATA, or `data`."""
    cache: str = field(default_factory=default_cache)
    """Folder of all that is computed once; default CLINTUNE_CACHE, or `~/.cache/clintune`."""
    shared: bool = False
    """Whether the group of the cache's folder may read it.

    The cache holds text of notes. Unless this is true, only its owner may read it.
    """
    cache_limit_gb: float | None = bounded(None, 0)
    """Size in GB above which the entries unused for longest are removed; null = no limit.

    Entries that a run uses are never removed.
    """
    max_bad_fraction: float = bounded(0.0, 0, 1)
    """Share of items that may be unreadable; fewer are counted and listed, more stop the run."""


@dataclass(frozen=True)
class Backbone:
    """The pretrained transformer that reads the tokens of all modalities."""

    source: str = MISSING
    """`bundled:NAME`, a local folder, a hub id, or `random` (with `config`)."""
    revision: str | None = None
    sha256: str | None = None
    """Checksum of the weights; if there are several files, of the list of all of them."""
    config: dict[str, Any] | None = None
    """Hugging Face config (with `model_type`) of a random backbone."""
    dtype: str = "float32"
    quantize: str | None = one_of(None, "4bit")
    """`4bit` loads the frozen base with bitsandbytes (CUDA)."""
    max_tokens: int = bounded(512, 1, 1_048_576)
    """Most tokens of a sample, all modalities together."""
    compile: bool = False
    """Whether torch.compile compiles the layers: it takes minutes at the start, then speeds up."""
    liger: bool = False
    """Whether Liger's Triton kernels replace norms, rotary embeddings and MLPs (CUDA)."""


@dataclass(frozen=True)
class Adapter:
    """What trains in the backbone: nothing (`frozen`), `lora`, or all of it (`full`).

    Encoders in mode lora use the same LoRA settings.
    """

    mode: str = one_of("lora", "frozen", "full")
    r: int = bounded(8, 1, 4096)
    alpha: int = bounded(16, 1, 65_536)
    dropout: float = bounded(0.0, 0, 0.99)
    targets: Any = None
    """Names of the linear layers, `all-linear`, or null.

    Null is PEFT's choice for the architecture, or all layers if PEFT has none.
    """
    rslora: bool = False
    dora: bool = False


@dataclass(frozen=True)
class Model:
    """How tokens go to the backbone and to the heads."""

    modality_dropout: float = bounded(0.0, 0, 1)
    """Chance in training that a modality of a sample is dropped; one modality always stays."""
    readout: str | None = one_of("trained", "probe", "boosted", None)
    """What reads the pooled features of each modality, beside the backbone.

    `trained` is a linear layer that trains with the rest. `probe` first fits a penalised linear
    probe of the frozen encoders; its logits and the backbone's are averaged. `boosted` is a probe
    with trees beside it, where they help.
    """
    head_dropout: float = bounded(0.0, 0, 0.99)
    average_views: bool = False
    """Whether inference averages the probabilities over all augmented views.

    Otherwise it uses the plain view alone.
    """
    zero_fill: bool = False
    """Whether a missing modality becomes one piece of zeros instead of nothing; for comparison."""


@dataclass(frozen=True)
class Trainer:
    """The training loop.

    A step is an optimizer step over `batch_size` samples, for any number of processes.
    """

    max_steps: int | None = bounded(None, 0)
    """Steps of each training; if given, `epochs` does not count.

    0 goes with `model.readout=probe` or `boosted` only.
    """
    epochs: float = bounded(10, 0)
    """How often all training samples are read, if `max_steps` is null."""
    batch_size: int = bounded(16, 1)
    micro_batch_size: int = bounded(16, 1)
    """Most samples that go through the model at a time, in each process."""
    micro_batch_tokens: int | None = bounded(None, 1)
    """Most tokens that go through the model at a time; null = as many as the samples have."""
    lr: float = bounded(2e-4, 0, 1)
    head_lr: float | None = bounded(3e-3, 0, 1)
    """Learning rate of projectors, heads and other new parts; null = `lr`."""
    weight_decay: float = bounded(0.01, 0)
    warmup: float = bounded(0.1, 0, 1)
    """Share of the steps in which the learning rate rises."""
    schedule: str = one_of("cosine", "linear", "constant")
    """Course of the learning rate after warm-up."""
    clip: float = bounded(1.0, 0)
    precision: str = one_of("auto", "fp32", "bf16", "fp16")
    """`auto` is bf16 if the GPU, or without one the CPU, computes in it; a run keeps the choice."""
    average: float = bounded(0.0, 0, 1)
    """Decay of the moving average of the weights; 0 = no average.

    The average is what is tuned, saved and packaged.
    """
    tune_every: int | None = bounded(None, 1)
    """Steps between scores on the tuning split; null = once an epoch."""
    metric: str | None = None
    """Tuning metric that chooses the best checkpoint, as mean over tasks, or `loss`.

    Null is the primary metric of each task.
    """
    patience: int | None = bounded(None, 1)
    """Scores without improvement before the run stops early."""
    checkpoint_every: int | None = bounded(None, 1)
    """Steps between checkpoints; null = whenever the tuning split is scored."""
    workers: int | None = bounded(None, 0, 1024)
    """Processes that read batches ahead, and preprocess items, for each process that trains.

    Null is 4 with a GPU, else 0.
    """


@dataclass(frozen=True)
class Strategy:
    """How the model is distributed over the processes.

    Settings that do not go together are refused before anything loads.
    """

    kind: str = one_of("ddp", "fsdp2", "single")
    """`ddp` copies the model to each process, `fsdp2` shards it, `single` takes one process."""
    activation_checkpointing: bool = False
    """Whether the backward pass computes the backbone's activations again.

    It takes less memory and a third more time.
    """
    cpu_offload: bool = False
    """Whether `fsdp2` keeps weights, gradients and optimizer state in the memory of the host."""


@dataclass(frozen=True)
class Cluster:
    """Where the job runs: in processes of this machine, or as a job of SLURM."""

    kind: str = one_of("local", "slurm")
    nodes: int = bounded(1, 1)
    gpus_per_node: int = bounded(0, 0)
    processes: int | None = bounded(None, 1, 1024)
    """Processes of each node; null = one for each GPU of `gpus_per_node`, at least one."""
    cpus_per_process: int | None = bounded(None, 1)
    memory: str | None = None
    """Memory of each node, as in 64G."""
    time: str | None = None
    """Time limit, as in 24:00:00; a job that reaches it saves a checkpoint and is requeued."""
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    setup: list[str] = field(default_factory=list)
    """Shell lines that run on the first node before the processes start: `module load cuda`."""
    container: str | None = None
    """Image in which the processes run (`srun --container-image` of the pyxis plugin)."""
    mounts: str | None = None
    """Folders of the host in the container, as in /data:/data (`srun --container-mounts`)."""
    warn_seconds: int = bounded(120, 10)
    """Seconds before the time limit at which the job is told to save."""
    max_requeues: int = bounded(20, 0)
    """How often a job is requeued that a signal or a dead node ended."""


@dataclass(frozen=True)
class Config:
    """A whole run."""

    name: str = MISSING
    modules: str | None = None
    """Folder whose Python modules a `_target_` may name.

    Null is the folder of the recipe, if it holds such a module.
    """
    seed: int = bounded(0, 0)
    ensemble: int = bounded(1, 1, 1000)
    """Number of members, trained with different seeds, whose probabilities are averaged."""
    cv: Any = None
    """Number of folds, or a file of folds (subject_id, fold) for a run with one cohort."""
    cv_repeats: int = bounded(1, 1, 1000)
    per_subject: bool = False
    """Whether a subject counts once.

    Predictions of its samples are averaged before scoring, and a probe weighs them accordingly.
    """
    runs: str = "runs"
    evaluation: list[str] | None = None
    """Analyses of `clintune evaluate` in the order of the report; null = all of clintune's own.

    A name may also be that of a module beside the recipe.
    """
    cohorts: Mapping[str, Cohort] = field(default_factory=dict)
    modalities: Mapping[str, Any] = field(default_factory=dict)
    tasks: Mapping[str, Any] = field(default_factory=dict)
    backbone: Backbone = field(default_factory=Backbone)
    adapter: Adapter = field(default_factory=Adapter)
    model: Model = field(default_factory=Model)
    trainer: Trainer = field(default_factory=Trainer)
    strategy: Strategy = field(default_factory=Strategy)
    cluster: Cluster = field(default_factory=Cluster)
    tracker: Any = None
    data: Data = field(default_factory=Data)


@dataclass(frozen=True)
class Scoring:
    """A job that scores a cohort with a package."""

    package: str = MISSING
    """Folder of a package or run, `org/name`, `models:/name`, or URL."""
    revision: str | None = None
    trusted: list[str] = field(default_factory=list)
    """Modules outside clintune whose classes the package may use."""
    cohorts: Mapping[str, Cohort] = field(default_factory=dict)
    out: str | None = None
    """Folder of the results; null = `predictions/<package>/<time>`."""
    times: str | None = None
    """When to predict: a Parquet file with subject_id and prediction_time, `last`, or null.

    `last` predicts for each subject at its last event. Null predicts at the times of the cohort's
    labels for the tasks of the package.
    """
    shard_size: int = bounded(2000, 1)
    """Most samples that are scored, and written, at a time; memory grows with it."""
    batch_size: int = bounded(64, 1)
    """Most samples that go through the model at a time."""
    precision: str | None = one_of(None, "fp32", "bf16", "fp16")
    """Precision of the computation; null = that of the package."""
    workers: int | None = bounded(None, 0, 1024)
    """Processes that preprocess items for each process that scores; null = 4 with a GPU, else 0."""
    keep: bool = False
    """Whether index and features of the cohort stay in `data.cache` for a next job.

    They hold the text of its notes.
    """
    cluster: Cluster = field(default_factory=Cluster)
    data: Data = field(default_factory=Data)
