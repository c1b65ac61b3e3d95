"""The keys of a recipe. A key that is not here, nor in the signature of a `_target_`, is refused.

No torch here: configs must be checked in under a second.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args, get_origin

from omegaconf import MISSING

from clintune.core.paths import default_cache, default_raw

MOST = 1_000_000_000
"""No number of a recipe is larger."""
MOST_HOURS = 10_000_000
"""More than a thousand years: no history is longer."""


def one_of(*choices: str | None) -> Any:
    """Make a key that takes one of these values; the first is the default."""
    return field(default=choices[0], metadata={"choices": choices})


def bounded(default: Any, least: float, most: float = MOST) -> Any:
    """Make a number that lies within bounds, or is null where that is its default."""
    return field(default=default, metadata={"bounds": (least, most)})


def entry_of(kind: Any) -> Any:
    """Return the type of the entries of a key that takes them by name; None of any other type."""
    return get_args(kind)[1] if get_origin(kind) is Mapping else None


@dataclass(frozen=True)
class Splits:
    """How subjects are split when the cohort has no `metadata/subject_splits.parquet`."""

    tuning: float = bounded(0.15, 0, 1)
    held_out: float = bounded(0.15, 0, 1)
    stratify: str | None = None
    """Name of a task whose label the splits and folds balance."""
    seed: int = bounded(0, 0)
    group: str | None = None
    """Column of the cohort's table of groups: without `cv`, subjects of `held_out_groups` are held out."""
    held_out_groups: list[str] = field(default_factory=list)
    train_share: float = bounded(1.0, 0, 1)
    """Share of the training subjects that train, the others taking no part; a smaller share is a part of a larger."""


@dataclass(frozen=True)
class Cohort:
    """One MEDS cohort with media columns."""

    root: str = MISSING
    """A folder, or a URL that fsspec reads (s3://bucket/cohort, https://host/cohort), copied to `data.cache`."""
    storage: Any = None
    """Mapping of what fsspec is told of the URL beside the environment, as `endpoint_url`; secrets are refused."""
    source: Any = None
    """A `_target_` that writes the cohort to `root` when it is missing or its settings changed: importer, generator."""
    splits: Splits = field(default_factory=Splits)
    folds: str | None = None
    """Parquet or CSV file with subject_id and fold, relative to `root`; used when `cv` is set."""
    groups: str | None = None
    """Parquet or CSV file with subject_id and a column a grouping (site, device), relative to `root`, to report by."""
    lookback_hours: float | None = bounded(None, 0, MOST_HOURS)
    """Items older than this before the prediction time are left out; null keeps the whole history, 0 the moment."""
    unknown_subjects: str = one_of("error", "drop")
    """What becomes of labels of a subject without any data: `drop` counts them and leaves them out."""


@dataclass(frozen=True)
class Data:
    """Where data come from and go to."""

    raw: str = field(default_factory=default_raw)
    """Folder that holds the raw files of public data; by default CLINTUNE_DATA, or `data`."""
    cache: str = field(default_factory=default_cache)
    """Folder of what is computed once; by default CLINTUNE_CACHE, or `~/.cache/clintune`."""
    shared: bool = False
    """Whether the cache is its group's too; it holds text of notes, and is its owner's alone unless this is true."""
    cache_limit_gb: float | None = bounded(None, 0)
    """Size beyond which what was not used for longest leaves the cache, never what a run uses; null = none."""
    max_bad_fraction: float = bounded(0.0, 0, 1)
    """Share of items that may be unreadable before the run stops; those below it are counted and listed."""


@dataclass(frozen=True)
class Backbone:
    """The pretrained transformer that reads the tokens of all modalities."""

    source: str = MISSING
    """`bundled:NAME`, a local folder, a hub id, or `random` (with `config`)."""
    revision: str | None = None
    sha256: str | None = None
    """Checksum of the weights; of the listing of all weight files where there are several."""
    config: dict[str, Any] | None = None
    """Hugging Face config (with `model_type`) of a random backbone."""
    dtype: str = "float32"
    quantize: str | None = one_of(None, "4bit")
    """`4bit` loads the frozen base with bitsandbytes (CUDA)."""
    max_tokens: int = bounded(512, 1, 1_048_576)
    """Budget of tokens a sample, all modalities together."""
    compile: bool = False
    """Whether torch.compile compiles its layers: minutes at the start, faster steps after."""
    liger: bool = False
    """Whether Liger's Triton kernels replace its norms, rotary embeddings and MLPs (CUDA)."""


@dataclass(frozen=True)
class Adapter:
    """What trains in the backbone: `frozen`, `lora` or `full`; the LoRA settings also serve encoders in mode lora."""

    mode: str = one_of("lora", "frozen", "full")
    r: int = bounded(8, 1, 4096)
    alpha: int = bounded(16, 1, 65_536)
    dropout: float = bounded(0.0, 0, 0.99)
    targets: Any = None
    """Names of the linear layers, `all-linear`, or null: PEFT's choice for the architecture, all where it has none."""
    rslora: bool = False
    dora: bool = False


@dataclass(frozen=True)
class Model:
    """How tokens meet the backbone and the heads."""

    modality_dropout: float = bounded(0.0, 0, 1)
    """Chance in training that a sample's modality is dropped; one modality always stays."""
    readout: str | None = one_of("trained", "probe", "boosted", None)
    """A path from the pooled embeddings of each modality straight to the heads: `trained` with the
    rest, or `probe`: a penalised linear probe of the frozen encoders, fitted first; its logits and
    the backbone's are averaged. `boosted` is a probe with trees beside it, where they help.
    """
    head_dropout: float = bounded(0.0, 0, 0.99)
    average_views: bool = False
    """Whether inference averages the probabilities over all augmented views instead of the plain one."""
    zero_fill: bool = False
    """Whether a sample that lacks a modality gets one piece of zeros of it instead of nothing; for comparison."""


@dataclass(frozen=True)
class Trainer:
    """The loop. A step is an optimizer step over `batch_size` samples, whatever the number of processes."""

    max_steps: int | None = bounded(None, 0)
    """Steps of each training; where given, it counts and `epochs` does not. 0 goes with
    `model.readout=probe` or `boosted` only.
    """
    epochs: float = bounded(10, 0)
    """Times that all training samples are read, where `max_steps` is null."""
    batch_size: int = bounded(16, 1)
    micro_batch_size: int = bounded(16, 1)
    """Most samples that go through the model at a time, for each process."""
    micro_batch_tokens: int | None = bounded(None, 1)
    """Most tokens that go through the model at a time; null = however many the samples have."""
    lr: float = bounded(2e-4, 0, 1)
    head_lr: float | None = bounded(3e-3, 0, 1)
    """Learning rate of projectors, heads and other new parts; null = `lr`."""
    weight_decay: float = bounded(0.01, 0)
    warmup: float = bounded(0.1, 0, 1)
    """Share of the steps."""
    schedule: str = one_of("cosine", "linear", "constant")
    """`cosine`, `linear` or `constant`, after warm-up."""
    clip: float = bounded(1.0, 0)
    precision: str = one_of("auto", "fp32", "bf16", "fp16")
    """`fp32`, `bf16`, `fp16`, or `auto`: bf16 where the GPU, or without one the CPU, computes in it; a run keeps it."""
    average: float = bounded(0.0, 0, 1)
    """Decay of the moving average of the weights; 0 = none. The average is what is tuned, saved and packaged."""
    tune_every: int | None = bounded(None, 1)
    """Steps between scores on the tuning split; null = once an epoch."""
    metric: str | None = None
    """Tuning metric that chooses the best checkpoint, mean over tasks; null = each task's own, or `loss`."""
    patience: int | None = bounded(None, 1)
    """Scores without improvement before the run stops early."""
    checkpoint_every: int | None = bounded(None, 1)
    """Steps between checkpoints; null = whenever the tuning split is scored."""
    workers: int | None = bounded(None, 0, 1024)
    """Processes that read batches ahead, beside each that trains, and that preprocess items the first time; null = 4
    beside a GPU, else none."""


@dataclass(frozen=True)
class Strategy:
    """How the model is spread over the processes; what does not go together is refused before anything loads."""

    kind: str = one_of("ddp", "fsdp2", "single")
    """`ddp` copies the model to each process, `fsdp2` shares its weights out, `single` refuses several processes."""
    activation_checkpointing: bool = False
    """Whether the backbone computes its activations again in the backward pass: less memory, a third more time."""
    cpu_offload: bool = False
    """Whether `fsdp2` keeps weights, gradients and optimizer state in the memory of the host."""


@dataclass(frozen=True)
class Cluster:
    """Where the job runs: in this process and others of this machine, or as a job of SLURM."""

    kind: str = one_of("local", "slurm")
    nodes: int = bounded(1, 1)
    gpus_per_node: int = bounded(0, 0)
    processes: int | None = bounded(None, 1, 1024)
    """Processes a node; null = one a GPU of `gpus_per_node`, at least one."""
    cpus_per_process: int | None = bounded(None, 1)
    memory: str | None = None
    """Memory a node, as in 64G."""
    time: str | None = None
    """Time limit, as in 24:00:00; a job that reaches it saves a checkpoint and queues again."""
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    setup: list[str] = field(default_factory=list)
    """Shell lines that run on the first node before the processes start, as in `module load cuda`."""
    container: str | None = None
    """Image that the processes run in (`srun --container-image`, of the pyxis plugin)."""
    mounts: str | None = None
    """What the container sees of the host, as in /data:/data (`srun --container-mounts`)."""
    warn_seconds: int = bounded(120, 10)
    """How long before the time limit the job is told to save."""
    max_requeues: int = bounded(20, 0)
    """How often a job that a signal or a dead node ended queues again."""


@dataclass(frozen=True)
class Config:
    """A whole run."""

    name: str = MISSING
    modules: str | None = None
    """Folder whose Python modules a `_target_` may name; null = that of the recipe, where it has such a module."""
    seed: int = bounded(0, 0)
    ensemble: int = bounded(1, 1, 1000)
    """Number of members trained with different seeds whose probabilities are averaged."""
    cv: Any = None
    """Number of folds, or a file of folds (subject_id, fold) for a run with one cohort."""
    cv_repeats: int = bounded(1, 1, 1000)
    per_subject: bool = False
    """Whether a subject counts once: predictions of its samples are averaged before scoring, a probe weighs them so."""
    runs: str = "runs"
    evaluation: list[str] | None = None
    """Analyses of `clintune evaluate` in the order of the report, and modules beside the recipe; null = all of ours."""
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
    """When to predict: a Parquet file with subject_id and prediction_time, `last` (each subject at its last event), or
    null: when the cohort's labels for the package's tasks say."""
    shard_size: int = bounded(2000, 1)
    """Most samples that are scored, and written, at a time; memory grows with it."""
    batch_size: int = bounded(64, 1)
    """Most samples that go through the model at a time."""
    precision: str | None = one_of(None, "fp32", "bf16", "fp16")
    """null = the package's own."""
    workers: int | None = bounded(None, 0, 1024)
    """Processes that preprocess items, beside each that scores; null = 4 beside a GPU, else none."""
    keep: bool = False
    """Whether index and features of the cohort stay in `data.cache` for a next job; they hold the text of its notes."""
    cluster: Cluster = field(default_factory=Cluster)
    data: Data = field(default_factory=Data)
