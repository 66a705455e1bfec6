"""Pascal VOC (Everingham et al. 2010), the paper's detection data set (section III-C), and other data in its directory layout.

To read another year with VOC's classes, write a function like `voc2007`; `voc` reads data with other classes.

Torchvision's reader is not used because it accepts only VOC's own years and folder names. The standard library parses the
annotations; a document type declaration is refused, since its entities could expand without limit.
"""

from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from trainables.contracts import Source
from trainables.data.files import open_image
from trainables.data.image_files import source_of_pairs
from trainables.data.splitting import held_out
from trainables.tasks.detection.boxes import Truth, clipped, has_area

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
SUFFIXES = (".jpg", ".jpeg", ".png")
"""Image file extensions, in the order in which they are tried; VOC uses the first."""


def voc2007(root: Path) -> Source:
    """Open VOC2007: 2501 training, 2510 validation and 4952 test images, 20 classes.

    `root` contains `VOCdevkit/VOC2007` or `VOC2007`, or is the folder `VOC2007` itself. Raises ValueError naming the first list,
    image or annotation that is missing or malformed.
    """
    places = (root / "VOCdevkit" / "VOC2007", root / "VOC2007", root)
    tree = next((place for place in places if (place / "ImageSets").is_dir()), None)
    if tree is None:
        raise ValueError(f"{root}: contains no VOC2007; set --data voc2007=PATH to the folder that holds VOCdevkit/VOC2007")
    lists = {name: _list(tree, name) for name in ("train", "val", "test")}
    return _open("voc2007", tree, lists, CLASSES)


def voc(root: Path) -> Source:
    """Open `JPEGImages/`, `Annotations/` and `ImageSets/Main/{train,val,test}.txt` with any classes.

    The classes are the sorted names in the annotations of all listed images. Without `test.txt` the `val` list is the test split,
    and the validation split is 5 % of the training images, chosen by the hash of their names. Raises ValueError naming the first
    list, image or annotation that is missing or malformed.
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
        raise ValueError(f"{root / 'Annotations'}: no listed image has an object; restore the annotations")
    return _open("voc", root, lists, tuple(classes))


def _open(name: str, root: Path, lists: dict[str, tuple[str, ...]], classes: tuple[str, ...]) -> Source:
    times = Counter(item for items in lists.values() for item in items)
    twice = sorted(item for item, count in times.items() if count > 1)
    if twice:
        raise ValueError(f"{root / 'ImageSets' / 'Main'}: {twice[0]} is listed {times[twice[0]]} times; list each image once")
    parts = [[(_image(root, item), _annotation(item)) for item in lists[part]] for part in ("train", "val", "test")]
    return source_of_pairs(name, classes, root, parts, read=partial(_truth, classes), sequence=None, slow=False)


def _list(root: Path, part: str) -> tuple[str, ...]:
    """The items of one split list, sorted."""
    path = root / "ImageSets" / "Main" / f"{part}.txt"
    if not path.is_file():
        raise ValueError(f"{path}: no such file; it must list the {part} images, one name per line")
    items = path.read_text().split("\n")
    for number, line in enumerate(items, start=1):
        if len(line.split()) > 1 or "/" in line:
            raise ValueError(f"{path}, line {number}: expected an image name without its extension, got {line!r}")
    found = sorted(line.strip() for line in items if line.strip())
    if not found:
        raise ValueError(f"{path}: lists no image; write one image name per line")
    return tuple(found)


def _annotation(item: str) -> str:
    return f"Annotations/{item}.xml"


def _image(root: Path, item: str) -> str:
    names = [f"JPEGImages/{item}{suffix}" for suffix in SUFFIXES]
    return next((name for name in names if (root / name).is_file()), names[0])


def _truth(classes: tuple[str, ...], image: Path, annotation: Path) -> Truth:
    """The objects of an image. Raises ValueError naming a file that is malformed or has an unknown class."""
    objects = [each for each in _objects(annotation) if each.xmax > each.xmin and each.ymax > each.ymin]
    unknown = [each.name for each in objects if each.name not in classes]
    if unknown:
        raise ValueError(f"{annotation}: unknown class {unknown[0]!r}; use --data voc=PATH for data with other classes than VOC's")
    # VOC counts pixels from 1 with inclusive ends: its xmax - xmin + 1 is the width here.
    written = [(each.xmin - 1, each.ymin - 1, each.xmax, each.ymax) for each in objects]
    with open_image(image) as opened:  # annotations may state a wrong size
        boxes = clipped(written, *opened.size)
    kept = has_area(boxes)
    objects, boxes = [each for each, keep in zip(objects, kept, strict=True) if keep], boxes[kept]
    return Truth(
        boxes=boxes,
        labels=np.array([classes.index(each.name) for each in objects], np.int64),
        areas=(boxes[:, 2:] - boxes[:, :2]).prod(axis=1),
        difficult=np.array([each.difficult for each in objects], np.bool_),
        crowd=np.zeros(len(objects), np.bool_),
    )


@dataclass(frozen=True, kw_only=True)
class _Object:
    """An `object` element of an annotation, as written."""

    name: str
    difficult: bool
    xmin: float
    ymin: float
    xmax: float
    ymax: float


class _WithoutDoctype(ElementTree.TreeBuilder):
    """Refuses document type declarations: without one there are no entities to expand."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:  # noqa: ARG002
        raise ValueError("document type declaration is not allowed")


def _objects(path: Path) -> list[_Object]:
    """The objects of one annotation file. Raises ValueError naming a malformed file."""
    try:
        root = ElementTree.fromstring(path.read_bytes(), ElementTree.XMLParser(target=_WithoutDoctype()))  # noqa: S314
        return [_object(each) for each in root.iter("object")]
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise ValueError(f"{path}: unreadable annotation ({error}); restore the file or remove its image from the lists") from error


def _object(element: ElementTree.Element) -> _Object:
    corners = {side: float(_text(element, f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")}
    if not np.isfinite(list(corners.values())).all():
        raise ValueError(f"box {corners} is not finite")
    return _Object(name=_text(element, "name"), difficult=element.findtext("difficult", "0").strip() == "1", **corners)


def _text(element: ElementTree.Element, place: str) -> str:
    found = (element.findtext(place) or "").strip()
    if not found:
        raise ValueError(f"object without {place}")
    return found
