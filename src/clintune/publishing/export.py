"""Export: the backbone with its adapter merged into it, also as ONNX.

It is for tools that know nothing of adapters.
"""

import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from clintune.core.console import console
from clintune.core.errors import ConfigError, PackageError
from clintune.core.files import atomic_path
from clintune.core.seeding import generator
from clintune.inference.load import fetch, package_folder
from clintune.model.adapters import is_peft
from clintune.package.contents import Package
from clintune.package.load import load_package
from clintune.package.members import members_found
from clintune.weights import load_transformer, resolve

FOLDER = "backbone"
ONNX = "backbone.onnx"
TOLERANCE = 1e-4
"""Most that a hidden state, of the order of one, may differ from the package's, in float32."""
_LENGTHS = (7, 19)
"""Tokens of the two made-up sequences that are compared.

One is padded, and neither is what ONNX was traced with.
"""
_TRACED = (2, 11)


def export_backbones(
    source: str,
    out: Path,
    *,
    onnx: bool = False,
    revision: str | None = None,
    trusted: Sequence[str] = (),
) -> None:
    """Write the merged backbone of each member of a package below `out`.

    It is a Hugging Face folder and, if asked, an ONNX file, which maps `inputs_embeds` [N, T, D]
    and `attention_mask` [N, T] to `last_hidden_state` [N, T, D]. Each is run and compared with the
    package. Raises ConfigError for a 4-bit base or where a package for ONNX is missing,
    PackageError as `load_package` does and where a copy does not give the hidden states to
    `TOLERANCE`.
    """
    if onnx:
        _require_onnx()
    found = members_found(package_folder(fetch(source, revision)))
    with atomic_path(out) as partial:
        for number, member in enumerate(found):
            folder = partial / f"member-{number}" if len(found) > 1 else partial
            folder.mkdir(parents=True)
            _export(load_package(member, trusted=trusted), folder, onnx)


def _export(package: Package, folder: Path, onnx: bool) -> None:
    """Write the merged backbone of one member to `folder`, and compare it with the package."""
    if package.config.backbone.quantize is not None:
        raise ConfigError(
            "export: the base is 4-bit, which merging would round anew; keep the adapter apart"
        )

    # The package answers first: merging changes it.
    embeddings, mask = _made_up(package)
    expected = _answer(package, embeddings, mask)
    backbone: Any = package.model.backbone.model
    merged = backbone.merge_and_unload() if is_peft(backbone) else backbone
    merged.save_pretrained(folder / FOLDER)

    # Read the copy back, and compare.
    plain: nn.Module = load_transformer(resolve(str(folder / FOLDER)), attn_implementation="eager")
    plain.eval()
    _check(FOLDER, torch.no_grad()(_PlainStates(plain)), embeddings, mask, expected)
    if onnx:
        _write_onnx(_PlainStates(plain), folder / ONNX, embeddings.shape[-1])
        _check(ONNX, _onnx_runner(folder / ONNX), embeddings, mask, expected)


class _PlainStates(nn.Module):
    """A model as a function of two tensors."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs_embeds: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the last hidden states."""
        output = self.model(
            inputs_embeds=inputs_embeds, attention_mask=attention_mask, use_cache=False
        )
        return output.last_hidden_state  # type: ignore[no-any-return]


def _made_up(package: Package) -> tuple[Tensor, Tensor]:
    """Return embeddings [N, T, D] at the backbone's scale and their mask [N, T]."""
    backbone = package.model.backbone
    longest = max(_LENGTHS)
    embeddings = torch.randn(len(_LENGTHS), longest, backbone.width, generator=generator("export"))
    mask = (torch.arange(longest) < torch.tensor(_LENGTHS)[:, None]).long()
    return embeddings * backbone.embedding_rms(), mask


@torch.no_grad()
def _answer(package: Package, embeddings: Tensor, mask: Tensor) -> Tensor:
    """Return the package's own hidden states of the tokens that are not padding [M, D]."""
    return package.model.backbone(embeddings[mask.bool()], mask.sum(1))  # type: ignore[no-any-return]


def _check(
    name: str,
    run: Callable[[Tensor, Tensor], Tensor],
    embeddings: Tensor,
    mask: Tensor,
    expected: Tensor,
) -> None:
    found = run(embeddings, mask)[mask.bool()]
    worst = float((found - expected).abs().max())
    if not worst <= TOLERANCE:
        raise PackageError(
            f"export: {name} differs by {worst:.1e} from the package, more than {TOLERANCE}; "
            "nothing kept"
        )
    console.print(f"{name}: hidden states within {worst:.1e} of the package")


def _require_onnx() -> None:
    """Raise ConfigError where a package for ONNX is missing: nothing has been loaded yet."""
    needed = ("onnx", "onnxscript", "onnxruntime")
    if missing := [name for name in needed if find_spec(name) is None]:
        raise ConfigError(f"export: ONNX needs {', '.join(missing)}; pip install 'clintune[onnx]'")


def _write_onnx(model: nn.Module, path: Path, width: int) -> None:
    """Write a model of two tensors to `path`; batch and length are dynamic."""
    tensors = (torch.randn(*_TRACED, width), torch.ones(_TRACED, dtype=torch.long))
    axes = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}

    with warnings.catch_warnings():  # the exporter's own, about its insides
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model.eval(),
            tensors,
            input_names=["inputs_embeds", "attention_mask"],
            output_names=["last_hidden_state"],
            dynamic_shapes=(axes, axes),
            dynamo=True,
            verbose=False,
        )

    assert program is not None
    program.save(str(path), external_data=True)


def _onnx_runner(path: Path) -> Callable[[Tensor, Tensor], Tensor]:
    from onnxruntime import InferenceSession

    session = InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(embeddings: Tensor, mask: Tensor) -> Tensor:
        feeds = {"inputs_embeds": embeddings.numpy(), "attention_mask": mask.numpy()}
        (states,) = session.run(["last_hidden_state"], feeds)
        return torch.from_numpy(np.asarray(states))

    return run
