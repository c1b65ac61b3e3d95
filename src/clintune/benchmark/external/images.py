"""The images that a peer reads, as files of one kind under names that tell nothing."""

from pathlib import Path

from PIL import Image
from torchvision.transforms.v2 import functional as transform  # type: ignore[import-untyped]

from clintune.contracts import Item
from clintune.modalities.images.files import read_bytes, read_image

_PLAIN = ("PNG", "JPEG")
_ORIENTATION = 0x0112
"""The EXIF tag that says which side is up."""


class ImageFiles:
    """Images as every library reads them, in `folder`.

    What is no plain PNG or JPEG of 8 bits is written there as a PNG. The others are links there:
    their own names may hold what a library takes for more than a name.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.known: dict[Path, Path] = {}

    def path(self, item: Item) -> Path:
        """Return where the image of an item is."""
        assert item.path is not None
        if item.path not in self.known:
            target = self.folder / f"{len(self.known):06d}"
            if (suffix := _plain_suffix(item.path)) is not None:
                target = target.with_suffix(suffix)
                target.symlink_to(item.path.absolute())
            else:
                target = target.with_suffix(".png")
                content = read_bytes(item.path, item.where)
                pixels = read_image(content, item.path.suffix.lower(), item.where)
                transform.to_pil_image(pixels.clamp(0, 1)).save(target)
            self.known[item.path] = target
        return self.known[item.path]


def _plain_suffix(path: Path) -> str | None:
    try:
        with Image.open(path) as image:
            is_plain = image.format in _PLAIN and image.mode in ("L", "RGB")
            is_upright = is_plain and image.getexif().get(_ORIENTATION, 1) == 1
            return f".{str(image.format).lower()}" if is_upright else None
    except OSError:
        return None
