"""Pascal VOC (Everingham et al. 2010), the paper's detection data set (section III-C), and trees in its layout.

To read another year with VOC's own classes, call `_open` with them; a tree with classes of its own is `voc`.

Torchvision's reader is not used: it insists on VOC's years and folder names, and on their being all there is. The annotations are
parsed by the standard library; a document type, the only place from which entities could swell, is refused before it is read.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from trainables.contracts import Source
from trainables.tasks.detection.boxes import Truth, clipped, solid
from trainables.data.files import fingerprint, open_image
from trainables.data.image_files import ImageSplit
from trainables.data.splitting import held_out

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
SUFFIXES = (".jpg", ".jpeg", ".png")
"""Of images, in the order in which they are looked for; VOC's own are the first."""


def voc2007(root: Path) -> Source:
    """Open VOC2007: train 2501, validation 2510, test 4952 images, 20 classes.

    `root` holds `VOCdevkit/VOC2007` or `VOC2007`, or is the latter. Raises ValueError naming the first list, image or annotation
    that is missing or malformed.
    """
    places = (root / "VOCdevkit" / "VOC2007", root / "VOC2007", root)
    tree = next((place for place in places if (place / "ImageSets").is_dir()), None)
    if tree is None:
        raise ValueError(f"{root}: holds no VOC2007; --data voc2007=PATH must be the folder that holds VOCdevkit/VOC2007")
    lists = {name: _list(tree, name) for name in ("train", "val", "test")}
    return _open("voc2007", tree, lists, CLASSES)


def voc(root: Path) -> Source:
    """Open a tree of `JPEGImages/`, `Annotations/` and `ImageSets/Main/{train,val,test}.txt` with classes of its own.

    The classes are the names in the annotations of all listed images, sorted. A tree without `test.txt` is tested on its `val` list
    and validated on a twentieth of the training images, chosen by the hash of their names. Raises ValueError naming the first list,
    image or annotation that is missing or malformed.
    """
    lists = {name: _list(root, name) for name in ("train", "val")}
    if (root / "ImageSets" / "Main" / "test.txt").is_file():
        lists["test"] = _list(root, "test")
    else:
        train, val = held_out(lists["train"])
        lists = {"train": train, "val": val, "test": lists["val"]}
    files = [root / _annotation(name) for names in lists.values() for name in names]
    classes = sorted({each.name for file in files if file.is_file() for each in _objects(file)})
    if not classes:
        raise ValueError(f"{root / 'Annotations'}: no listed image has an object; is the tree complete?")
    return _open("voc", root, lists, tuple(classes))


def _open(name: str, root: Path, lists: dict[str, tuple[str, ...]], classes: tuple[str, ...]) -> Source:
    times = Counter(item for items in lists.values() for item in items)
    twice = sorted(item for item, count in times.items() if count > 1)
    if twice:
        raise ValueError(f"{root / 'ImageSets' / 'Main'}: {twice[0]} is listed {times[twice[0]]} times; an item counts once")
    splits = {part: _split(root, items, classes) for part, items in lists.items()}
    files = [file for split in splits.values() for file in (*split.images, *split.annotations)]
    tree = fingerprint(root, files, [split.images for split in splits.values()])
    return Source(name=name, classes=classes, train=splits["train"], val=splits["val"], test=splits["test"], fingerprint=tree)


def _split(root: Path, items: Sequence[str], classes: tuple[str, ...]) -> ImageSplit:
    images = tuple(_image(root, item) for item in items)
    annotations = tuple(_annotation(item) for item in items)
    return ImageSplit(
        root=root,
        images=images,
        truth=_Annotated(root=root, images=images, annotations=annotations, classes=classes).truth,
        annotations=annotations,
    )


def _list(root: Path, part: str) -> tuple[str, ...]:
    """The items of one list, sorted."""
    path = root / "ImageSets" / "Main" / f"{part}.txt"
    if not path.is_file():
        raise ValueError(f"{path}: missing; a VOC tree needs it, beside JPEGImages and Annotations")
    items = path.read_text().split("\n")
    for number, line in enumerate(items, start=1):
        if len(line.split()) > 1 or "/" in line:
            raise ValueError(f"{path}, line {number}: {line!r} is not an image's name without its ending")
    found = sorted(line.strip() for line in items if line.strip())
    if not found:
        raise ValueError(f"{path}: lists no image")
    return tuple(found)


def _annotation(item: str) -> str:
    return f"Annotations/{item}.xml"


def _image(root: Path, item: str) -> str:
    names = [f"JPEGImages/{item}{suffix}" for suffix in SUFFIXES]
    return next((name for name in names if (root / name).is_file()), names[0])


@dataclass(frozen=True, kw_only=True)
class _Annotated:
    """The annotations of one split."""

    root: Path
    images: tuple[str, ...]
    annotations: tuple[str, ...]
    classes: tuple[str, ...]

    def truth(self, index: int) -> Truth:
        """The objects of an item. Raises ValueError naming the file where it is malformed or has an unknown class."""
        path = self.root / self.annotations[index]
        objects = [each for each in _objects(path) if each.xmax > each.xmin and each.ymax > each.ymin]
        unknown = [each.name for each in objects if each.name not in self.classes]
        if unknown:
            raise ValueError(f"{path}: class {unknown[0]!r} is none of this data set's; a tree with classes of its own is `voc`")
        # VOC counts pixels from 1 and names the last one: its xmax - xmin + 1 is the width here.
        written = [(each.xmin - 1, each.ymin - 1, each.xmax, each.ymax) for each in objects]
        with open_image(self.root / self.images[index]) as image:  # the size in the annotation is not always the image's
            boxes = clipped(written, *image.size)
        kept = solid(boxes)
        objects, boxes = [each for each, keep in zip(objects, kept, strict=True) if keep], boxes[kept]
        return Truth(
            boxes=boxes,
            labels=np.array([self.classes.index(each.name) for each in objects], np.int64),
            areas=(boxes[:, 2:] - boxes[:, :2]).prod(axis=1),
            difficult=np.array([each.difficult for each in objects], np.bool_),
            crowd=np.zeros(len(objects), np.bool_),
        )


@dataclass(frozen=True, kw_only=True)
class _Object:
    """An `object` of an annotation, as written."""

    name: str
    difficult: bool
    xmin: float
    ymin: float
    xmax: float
    ymax: float


class _WithoutDoctype(ElementTree.TreeBuilder):
    """Entities are declared in a document type: without it there are none to expand."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:  # noqa: ARG002
        raise ValueError("a document type is refused")


def _objects(path: Path) -> list[_Object]:
    """The objects of one annotation file. Raises ValueError naming it."""
    try:
        root = ElementTree.fromstring(path.read_bytes(), ElementTree.XMLParser(target=_WithoutDoctype()))  # noqa: S314
        return [_object(each) for each in root.iter("object")]
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise ValueError(f"{path}: unreadable annotation ({error}); restore the file or take its image off the lists") from error


def _object(element: ElementTree.Element) -> _Object:
    corners = {side: float(_text(element, f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")}
    if not np.isfinite(list(corners.values())).all():
        raise ValueError(f"box {corners} is not finite")
    return _Object(name=_text(element, "name"), difficult=element.findtext("difficult", "0").strip() == "1", **corners)


def _text(element: ElementTree.Element, place: str) -> str:
    found = (element.findtext(place) or "").strip()
    if not found:
        raise ValueError(f"an object has no {place}")
    return found
