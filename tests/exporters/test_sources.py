"""load_source: networks by name, with the preprocess and labels of their library, and clear errors for the rest."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
import urllib.error
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
import torchvision

from exporters.sources import SourceError, load_source
from exporters.sources.names import find_lecture_aliases, make_labels_distinct
from exporters.sources.weights import WeightsError
from inspector.cli.app import app, run_guarded
from inspector.errors import MetadataError, UsageError
from inspector.extras import install_command
from inspector.image import Preprocess, open_image
from tests.exporters import nets
from tests.exporters.conftest import PHOTO, ROOT


@pytest.fixture
def photo():
    return open_image(PHOTO)


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0", "convnext_tiny"])
def test_torchvision_pictures_are_prepared_as_torchvision_does(name, photo):
    with torch.device("meta"):
        source = load_source(f"torchvision:{name}")
    transforms = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    ours, theirs = source.preprocess.tensor(photo), transforms(photo)[None].numpy()
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert source.labels[285] == "Egyptian cat"
    assert len(set(source.labels)) == 1000


@pytest.mark.parametrize(
    "name", ["resnet18", "resnet10t.c3_in1k", "convnextv2_nano.fcmae_ft_in22k_in1k_384", "mobilenetv3_small_050"]
)
def test_timm_pictures_are_prepared_as_timm_does(name, photo):
    source = load_source(f"timm:{name}")
    config = timm.data.resolve_data_config({}, model=source.module)
    theirs = timm.data.create_transform(**config)(photo)[None].numpy()
    ours = source.preprocess.tensor(photo)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_timm_crop_modes():
    from exporters.sources.kinds.timm import read_data_config

    config = timm.data.resolve_data_config({}, pretrained_cfg={"input_size": (3, 224, 224), "crop_pct": 0.875})
    center, notes = read_data_config(config)
    assert (center.resize, center.resize_size, notes) == ("shortest", 256, ())
    squash, notes = read_data_config(config | {"crop_mode": "squash", "crop_pct": 0.9})
    assert (squash.resize, squash.resize_size) == ("stretch", None)
    assert "timm crops 10.0% after its squash" in notes[0]
    border, _ = read_data_config(config | {"crop_mode": "border", "crop_pct": 1.0, "mean": (0.5, 0.5, 0.5)})
    assert (border.resize, border.fill) == ("pad", (128, 128, 128))
    grey, _ = read_data_config(config | {"input_size": (1, 64, 64), "mean": (0.5,), "std": (0.5,), "crop_pct": 1.0})
    assert (grey.colour, grey.channels, grey.size) == ("L", 1, (64, 64))


def test_a_timm_tag_decides_the_preprocess_and_is_recorded():
    assert load_source("timm:resnet18.a1_in1k").preprocess.resize_size == 235
    tagged = load_source("timm:resnet18.fb_ssl_yfcc100m_ft_in1k")
    assert tagged.preprocess.resize_size == 256
    assert tagged.provenance["tag"] == "fb_ssl_yfcc100m_ft_in1k"


def test_what_was_not_given_is_said():
    source = load_source("timm:resnet10t")
    assert source.provenance["weights"] == "random"
    assert source.notes == ("no weights were given: they are random",)
    factory = load_source("tests.exporters.nets:tiny")
    assert factory.preprocess == Preprocess.named("imagenet", (224, 224))
    assert factory.notes == ("no preprocess was given: imagenet at 224x224 is assumed",)
    assert load_source("tests.exporters.nets:grey").preprocess.channels == 1


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("torchvision:resnet81", "no classification network 'resnet81'; nearest: resnet18, "),
        ("torchvision:fcn_resnet50", "torchvision has no classification network"),
        ("timm:resnt18", "timm has no network 'resnt18'; nearest: resnet18, "),
        ("timm:resnet18.a9_in1k", "timm has no weights 'resnet18.a9_in1k'; nearest: resnet18.a"),
        ("no_such_module_here:f", "there is no module 'no_such_module_here' to import"),
        ("tests.exporters.nope:f", "there is no module 'tests.exporters.nope' to import"),
        ("tests.exporters.nets:tinny", "has no 'tinny'; nearest: "),
        (
            "tests.exporters.nets:broken",
            "fails: ValueError: no such checkpoint and a second line; the factory is called",
        ),
        ("tests.exporters.nets:not_a_module", "gives dict, not a torch module"),
    ],
)
def test_unknown_networks(spec, message):
    with pytest.raises(SourceError) as caught:
        load_source(spec)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("spec", ["resnet18", ":resnet18", "timm:", ""])
def test_what_names_no_network(spec):
    with pytest.raises(
        UsageError, match=r"names no network; SOURCE is torchvision:NAME, timm:NAME or package\.module:factory$"
    ):
        load_source(spec)


def test_a_module_with_an_error_of_its_own(tmp_path, monkeypatch):
    (tmp_path / "mine_with_error.py").write_text("import no_such_dependency\n")
    (tmp_path / "mine_that_raises.py").write_text("raise RuntimeError('not today')\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        SourceError, match=r"importing 'mine_with_error' fails: ModuleNotFoundError: .*no_such_dependency"
    ):
        load_source("mine_with_error:f")
    with pytest.raises(SourceError, match="importing 'mine_that_raises' fails: RuntimeError: not today"):
        load_source("mine_that_raises:f")


def test_a_factory_beside_the_user(tmp_path, monkeypatch):
    (tmp_path / "my_nets_beside_me.py").write_text(
        "from torch import nn\nclass Net(nn.Conv2d):\n    def __init__(self): super().__init__(3, 4, 3)\n"
        "net = Net()\nclass Space: make = Net\n"
    )
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    for what in ("Net", "net", "Space.make"):
        assert type(load_source(f"my_nets_beside_me:{what}").module).__name__ == "Net"
    assert sys.path == before


def test_weights_from_a_file(tmp_path):
    trained = nets.tiny()
    safetensors.torch.save_file(trained.state_dict(), tmp_path / "w.safetensors")
    source = load_source("tests.exporters.nets:Tiny", weights=tmp_path / "w.safetensors")
    assert torch.equal(source.module.head.weight, trained.head.weight)
    assert source.provenance["weights"]["file"] == "w.safetensors"
    assert str(tmp_path) not in json.dumps(source.provenance)


@pytest.mark.parametrize("spec", ["torchvision:resnet18", "timm:resnet18"])
def test_the_head_is_as_large_as_the_labels(spec, tmp_path):
    (tmp_path / "labels.txt").write_text("cell\ncrack\n")
    source = load_source(spec, labels=tmp_path / "labels.txt")
    assert source.module.fc.out_features == 2
    assert source.labels == ("cell", "crack")
    assert load_source(spec, classes=7).labels is None
    with pytest.raises(UsageError, match="3 classes were asked for and 2 labels given"):
        load_source(spec, classes=3, labels=["a", "b"])
    # A checkpoint for other classes than asked for.
    torch.save(source.module.state_dict(), tmp_path / "two.pth")
    with pytest.raises(WeightsError, match="the head differs: give labels"):
        load_source(spec, weights=tmp_path / "two.pth")


@pytest.mark.parametrize("auxiliary", [True, False])
def test_checkpoints_with_and_without_auxiliary_heads(auxiliary, tmp_path):
    with torch.device("meta"):
        net = torchvision.models.googlenet(weights=None, init_weights=False, aux_logits=auxiliary)
    torch.save({k: torch.zeros(v.shape, dtype=v.dtype) for k, v in net.state_dict().items()}, tmp_path / "w.pth")
    source = load_source("torchvision:googlenet", weights=tmp_path / "w.pth")
    assert source.module.aux_logits is auxiliary
    # Pictures reach it normalised ImageNet's way; torchvision's own weights expect another way and convert inside.
    assert source.module.transform_input
    assert source.provenance["transform_input"]


def save_zeros(name: str, path: Path, **options: Any) -> Path:
    """A state dict of that network without its weights: as large as it is, and quickly made."""
    with torch.device("meta"):
        net = torchvision.models.get_model(name, weights=None, **options)
    torch.save({k: torch.zeros(v.shape, dtype=v.dtype) for k, v in net.state_dict().items()}, path)
    return path


def test_whose_weights_they_are(tmp_path, monkeypatch):
    """The preset is that of the weights that are named, or that the file's digest is known by; else what was taken."""
    path = save_zeros("resnet18", tmp_path / "w.pth")
    assert load_source("torchvision:resnet18", weights=path).notes == ()  # there is one preset only
    path = save_zeros("resnet50", tmp_path / "w.pth")
    members = torchvision.models.ResNet50_Weights.__members__
    sizes = {name: member.transforms().resize_size[0] for name, member in members.items()}
    assert sizes == {"IMAGENET1K_V1": 256, "IMAGENET1K_V2": 232, "DEFAULT": 232}
    unsaid = load_source("torchvision:resnet50", weights=path)
    assert unsaid.preprocess.resize_size == 232
    assert unsaid.notes == (
        "the weights do not say their preset: that of IMAGENET1K_V2 is taken, resize 232 and crop 224, bilinear; "
        "torchvision:resnet50.IMAGENET1K_V1 takes resize 256 and crop 224, bilinear",
    )
    for spec in ("torchvision:resnet50.IMAGENET1K_V1", "torchvision:ResNet50_Weights.IMAGENET1K_V1"):
        source = load_source(spec, weights=path)
        assert (source.preprocess.resize_size, source.notes) == (256, ())
        assert source.provenance["preset"] == "ResNet50_Weights.IMAGENET1K_V1"
    # torchvision's own file, by the first digits of its digest, which its name has.
    digest = re.search(r"-([0-9a-f]{8})\.pth", members["IMAGENET1K_V1"].url)[1]
    monkeypatch.setattr(
        "exporters.sources.load.record_file", lambda file: {"file": "w.pth", "sha256": digest + "0" * 56}
    )
    known = load_source("torchvision:resnet50", weights=path)
    assert (known.preprocess.resize_size, known.notes) == (256, ())
    with pytest.raises(SourceError, match=r"no weights 'resnet50.IMAGENET_V1'; nearest: resnet50.IMAGENET1K_V1"):
        load_source("torchvision:resnet50.IMAGENET_V1")
    with pytest.raises(SourceError, match="torchvision has no classification network 'Resnet_Weights'"):
        load_source("torchvision:Resnet_Weights.DEFAULT")
    with pytest.raises(UsageError, match=r"no weights 'resnet50.none'; known: IMAGENET1K_V1, IMAGENET1K_V2, DEFAULT"):
        load_source("torchvision:resnet50.none", pretrained=True)


def test_what_was_trained_without_a_transform_of_the_input(tmp_path):
    path = save_zeros("googlenet", tmp_path / "w.pth", init_weights=False, aux_logits=False)
    unsaid = load_source("torchvision:googlenet", weights=path)
    assert unsaid.module.transform_input
    assert unsaid.notes == (
        "the weights do not say whether googlenet transforms its input inside, as torchvision's own do: it does here; "
        "torchvision:googlenet.none leaves that out",
    )
    named = load_source("torchvision:googlenet.IMAGENET1K_V1", weights=path)
    assert (named.module.transform_input, named.notes) == (True, ())
    own = load_source("torchvision:googlenet.none", weights=path)
    assert (own.module.transform_input, own.notes) == (False, ())
    assert "transform_input" not in own.provenance
    assert "preset" not in own.provenance


def test_preprocess_by_name_file_or_value(tmp_path):
    spec = "tests.exporters.nets:tiny"
    assert load_source(spec, preprocess="caffe", size=(64, 96)).preprocess == Preprocess.named("caffe", (64, 96))
    mine = Preprocess(size=(32, 32), resize="pad", filter="lanczos")
    (tmp_path / "p.json").write_text(json.dumps(mine.to_json()))
    assert load_source(spec, preprocess=str(tmp_path / "p.json")).preprocess == mine
    # What `inspector annotate --json` prints.
    (tmp_path / "p.json").write_text(json.dumps({"schema": 1, "command": "annotate", "preprocess": mine.to_json()}))
    assert load_source(spec, preprocess=tmp_path / "p.json").preprocess == mine
    assert load_source(spec, preprocess=Preprocess()).preprocess.size == (224, 224)
    with pytest.raises(MetadataError, match=r"no preprocess 'imagnet'; known: imagenet, unit, .* or a JSON file"):
        load_source(spec, preprocess="imagnet")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(MetadataError, match="is not JSON"):
        load_source(spec, preprocess=str(tmp_path / "bad.json"))
    (tmp_path / "bad.json").write_text('{"filter": "spline"}')
    with pytest.raises(MetadataError, match="spline"):
        load_source(spec, preprocess=str(tmp_path / "bad.json"))


def test_options_that_do_not_fit(tmp_path):
    with pytest.raises(UsageError, match="both a file of weights and pretrained"):
        load_source("timm:resnet18", weights=tmp_path / "w.pth", pretrained=True)
    with pytest.raises(UsageError, match="there are no pretrained weights for"):
        load_source("tests.exporters.nets:tiny", pretrained=True)
    with pytest.raises(UsageError, match="the pretrained resnet18 has 1000 classes, not 2"):
        load_source("torchvision:resnet18", pretrained=True, classes=2)
    with pytest.raises(MetadataError, match="cannot be read"):
        load_source("torchvision:resnet18", labels=tmp_path / "missing.txt")


def test_a_hub_that_cannot_be_reached_is_one_line_with_the_way_out(monkeypatch):
    def unreachable(*_args, **_options):
        raise urllib.error.URLError(OSError("Name or service not known"))

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", unreachable)
    monkeypatch.setattr("timm.create_model", unreachable)
    for spec in ("torchvision:resnet18", "timm:resnet18"):
        with pytest.raises(SourceError) as caught:
            load_source(spec, pretrained=True)
        assert str(caught.value) == (
            f"the weights of {spec} cannot be downloaded: URLError: <urlopen error Name or service not known>; "
            "fetch them elsewhere and give the file with --weights"
        )


def test_pretrained_weights_are_asked_for_and_recorded(monkeypatch):
    asked = []
    with torch.device("meta"):
        state = torchvision.models.resnet18().state_dict()
    state = {key: torch.zeros(value.shape, dtype=value.dtype) for key, value in state.items()}

    def served(url, **_options):
        asked.append(url)
        return state

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", served)
    source = load_source("torchvision:resnet18", pretrained=True)
    assert "resnet18" in asked[0]
    assert source.provenance["weights"] == "ResNet18.IMAGENET1K_V1"
    assert not source.module.fc.weight.any()


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("vgg16", {"block1_conv1": 0, "block2_conv1": 5, "block3_conv1": 10, "block4_conv1": 17, "block5_conv1": 24,
                   "block5_conv2": 26, "block5_conv3": 28, "block5_conv3_relu": 29, "block5_pool": 30}),
        ("vgg16_bn", {"block1_conv1": 0, "block2_conv1": 7, "block3_conv1": 14, "block4_conv1": 24, "block5_conv1": 34,
                      "block5_conv2": 37, "block5_conv3": 40, "block5_pool": 43}),
    ],
)  # fmt: skip
def test_the_names_of_the_book(name, places):
    with torch.device("meta"):
        module = torchvision.models.get_model(name)
    names = {alias: layer for layer, aliases in find_lecture_aliases(module).items() for alias in aliases}
    assert places.items() <= {a: int(n.removeprefix("features.")) for a, n in names.items() if "block" in a}.items()
    assert len([a for a in names if "_conv" in a and "relu" not in a]) == 13
    assert len([a for a in names if "_pool" in a]) == 5
    assert names["predictions"] == "classifier.6"
    assert find_lecture_aliases(torch.nn.Sequential()) == {}


def test_labels_are_the_first_synonym_and_all_different():
    names = ["tabby, tabby cat", "crane", "crane", "maillot", "maillot, tank suit", "tench"]
    assert make_labels_distinct(names) == ("tabby", "crane (1)", "crane (2)", "maillot", "tank suit", "tench")
    clean = ["", "crane bird", "construction crane", "", "", ""]
    assert make_labels_distinct(names, clean) == (
        "tabby",
        "crane bird",
        "construction crane",
        "maillot",
        "tank suit",
        "tench",
    )


@pytest.mark.parametrize("package", ["torch", "onnxscript"])
def test_without_torch_the_extra_is_named(package):
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from inspector.errors import MissingExtra\n"
        "try:\n    import exporters.exporting\nexcept MissingExtra as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert install_command("torch") in done.stdout


@pytest.mark.parametrize("package", ["timm", "torchvision"])
def test_without_the_zoo_the_extra_is_named(package, monkeypatch):
    from inspector.errors import MissingExtra

    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=re.escape(install_command("zoo"))):
        load_source(f"{package}:resnet18")


def test_importing_the_package_imports_no_torch():
    code = (
        "import sys, pkgutil, importlib, exporters, exporters.forms, exporters.planning, exporters.quantizing\n"
        "for package in (exporters.planning, exporters.quantizing):\n"
        "    for module in pkgutil.iter_modules(package.__path__, package.__name__ + '.'):\n"
        "        importlib.import_module(module.name)\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_kind_is_a_file_and_help_and_errors_list_it(capsys):
    from exporters.forms import list_forms, list_source_forms

    folder = ROOT / "exporters" / "sources" / "kinds"
    assert set(list_source_forms()) == {path.stem for path in folder.glob("*.py")} - {"__init__"}
    for kind, form in list_source_forms().items():
        module = importlib.import_module(f"exporters.sources.kinds.{kind}")
        assert isinstance(module.LIBRARY, bool)
        assert callable(module.load)
        assert re.fullmatch(rf"{kind}:NAME" if module.LIBRARY else r"[\w.]+:\w+", form)
    with pytest.raises(UsageError, match=f"SOURCE is {re.escape(list_forms(' or '))}"):
        load_source("resnet18")
    assert run_guarded(lambda: app(args=["export", "--help"], standalone_mode=False), False) == 0
    assert f"{list_forms()}, or a run of finetune." in " ".join(capsys.readouterr().out.split())
