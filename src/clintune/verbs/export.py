"""The verb that merges a package's adapter into its backbone."""

from collections.abc import Sequence
from pathlib import Path

from clintune.config.overrides import read_texts
from clintune.core.errors import ConfigError
from clintune.launch.memory import collector_paused
from clintune.verbs.arguments import PACKAGE, verb_parser
from clintune.verbs.beforehand import check_package, check_trusted


def export(argv: Sequence[str]) -> None:
    """Write the merged backbone of a package."""
    parser = verb_parser(
        "export",
        "Merge the adapter of a package into its backbone; the last line printed is the folder.",
        subject="package",
        meaning=PACKAGE,
        words="out=FOLDER (must be given), revision=NAME",
    )
    parser.add_argument(
        "--onnx", action="store_true", help="write backbone.onnx too (extra `onnx`)"
    )
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="MODULE",
        help="module whose classes it may use",
    )
    arguments = parser.parse_intermixed_args(argv)

    # Check the arguments before torch is imported.
    settings = read_texts("export", arguments.words, ("out", "revision"))
    if "out" not in settings:
        raise ConfigError("export: say where to: add out=FOLDER")
    out = Path(settings["out"])
    if out.exists():
        raise ConfigError(f"export: {out} exists; name a new folder, or remove it")
    check_package(arguments.package)
    check_trusted("export", arguments.package, arguments.trust)

    with collector_paused():
        from clintune.publishing.export import export_backbones

    export_backbones(
        arguments.package,
        out,
        onnx=arguments.onnx,
        revision=settings.get("revision"),
        trusted=arguments.trust,
    )
    print(out)
