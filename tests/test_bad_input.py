"What a user gets wrong: one clear sentence, exit status not 0, nothing left behind."
import json
from dataclasses import replace

import pytest

from ddad import load_benchmark
from ddad.study.command import main
from ddad.study.config import Config
from ddad.study.notebooks import main_notebook
from ddad.study.run import open_run

SMALL = ["--image-size", "32", "--batch-size", "16", "--n-unlabeled", "24", "--epochs", "1"]


def break_json(d): (d / "data.json").write_text("{")
def drop_key(d):
    tree = json.loads((d / "data.json").read_text())
    del tree["train"]["unlabeled"]["1"]
    (d / "data.json").write_text(json.dumps(tree))
def drop_image(d): (d / "images/test_normal_03.png").unlink()
def spoil_image(d): (d / "images/test_normal_03.png").write_text("no image")
def cut_image(d):
    path = d / "images/test_normal_03.png"
    path.write_bytes(path.read_bytes()[:200])
def lead_outside(d): (d / "data.json").write_text((d / "data.json").read_text().replace("test_normal_03.png", "../../secret.png"))
def empty_test(d):
    tree = json.loads((d / "data.json").read_text())
    tree["test"]["1"] = []
    (d / "data.json").write_text(json.dumps(tree))
def spoil_mask(d): (d / "masks/test_abnormal_00.png").write_text("no image")


def refused(capsys, arguments, out):
    "The one sentence with which ddad-run refuses."
    with pytest.raises(SystemExit) as stop: main([*arguments, "--out", str(out)])
    message = str(stop.value.code)
    assert message.startswith("ddad-run: ") and "\n" not in message and "Traceback" not in message
    assert not out.exists()
    return message


@pytest.mark.parametrize("damage, says", [
    (break_json, ["data.json is not JSON"]), (drop_key, ["data.json lacks the key train.unlabeled.1"]),
    (drop_image, ["'test_normal_03.png' is missing", "test.0"]), (spoil_image, ["test_normal_03.png cannot be read as an image"]),
    (cut_image, ["test_normal_03.png cannot be read as an image"]), (lead_outside, ["outside the root"]), (empty_test, ["test.1 is empty"]),
    (spoil_mask, ["test_abnormal_00.png cannot be read as an image"])])
def test_damaged_benchmark(discs, tmp_path, capsys, damage, says):
    damage(discs / "Discs")
    message = refused(capsys, ["--data", str(discs), "--benchmark", "Discs", *SMALL], tmp_path / "out")
    assert all(s in message for s in says)


@pytest.mark.parametrize("arguments, says", [
    (["--benchmark", "Disks"], ["'Disks'", "Discs"]), (["--benchmark", "../Discs"], ["outside the root"]),
    (["--backbone", "VAE"], ["'VAE'", "MemAE"]), (["--anomaly-rate", "1.5"], ["1.5", "between 0 and 1"]),
    (["--n-unlabeled", "40", "--anomaly-rate", "1"], ["40 abnormal", "24 and 24"]), (["--k", "1"], ["k is 1", "at least 2"]),
    (["--image-size", "50"], ["50", "multiple of 16"]), (["--batch-size", "100"], ["48 known-normal"]),
    (["--device", "cuda:7"], ["cuda:7"]), (["--precision", "int8"], ["int8"]), (["--epochs", "0"], ["epochs is 0"]), (["--notebook", "no.ipynb"], ["no.ipynb"])])
def test_wrong_setting(root, tmp_path, capsys, arguments, says):
    message = refused(capsys, ["--data", str(root), "--benchmark", "Discs", *SMALL, *arguments], tmp_path / "out")
    assert all(s in message for s in says)


def test_missing_root(tmp_path, capsys):
    message = refused(capsys, ["--data", str(tmp_path / "nowhere"), "--benchmark", "Discs"], tmp_path / "out")
    assert str(tmp_path / "nowhere") in message and "DDAD_DATA" in message


def test_a_folder_of_another_run_is_refused(root, tmp_path):
    config = Config.of("Discs", epochs=1)
    open_run(tmp_path / "run", config, "hash")
    for other, data in ((replace(config, epochs=2), "hash"), (config, "other")):
        with pytest.raises(ValueError, match="holds another run"): open_run(tmp_path / "run", other, data)


@pytest.mark.parametrize("name", ["../Discs", "..", ".", "", "/etc", "Discs/../../Discs", "Discs/images", "Discs/"])
def test_load_benchmark_refuses_a_name_outside(root, name):
    with pytest.raises(ValueError, match="outside the root"): load_benchmark(root, name)


def test_a_benchmark_and_its_images_may_be_links(discs, tmp_path):
    expected = load_benchmark(discs, "Discs", 32, progress=False)
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    root.mkdir()
    (root / "Linked").symlink_to(discs / "Discs")
    assert load_benchmark(root, "Linked", 32, progress=False).hash == expected.hash
    (discs / "Discs/images").rename(elsewhere)
    (discs / "Discs/images").symlink_to(elsewhere)
    for place, name in ((discs, "Discs"), (root, "Linked")):
        assert load_benchmark(place, name, 32, progress=False).hash == expected.hash


@pytest.mark.parametrize("link, to", [("test_normal_03.png", "secret.png"), ("sub", "secrets")])
def test_a_link_that_leads_out_of_images_is_refused(discs, link, to):
    images, tree = discs / "Discs/images", discs / "Discs/data.json"
    (discs / "secrets").mkdir()
    for place in (discs / "secret.png", discs / "secrets/test_normal_03.png"): place.write_bytes((images / "test_normal_03.png").read_bytes())
    (images / "test_normal_03.png").unlink()
    (images / link).symlink_to(discs / to)
    if link == "sub": tree.write_text(tree.read_text().replace("test_normal_03.png", "sub/test_normal_03.png"))
    with pytest.raises(ValueError, match="outside the root"): load_benchmark(discs, "Discs", 32, progress=False)


def test_a_link_to_nowhere_is_no_benchmark(discs):
    (discs / "Gone").symlink_to(discs / "nowhere")
    with pytest.raises(ValueError, match="There is no benchmark 'Gone'.*it has Discs"): load_benchmark(discs, "Gone")


@pytest.mark.parametrize("option", ["--out", "--store"])
def test_a_file_where_a_folder_belongs(root, tmp_path, option):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SystemExit) as stop: main(["--data", str(root), "--benchmark", "Discs", *SMALL, "--out", str(tmp_path / "out"), option, str(tmp_path / "file")])
    message = str(stop.value.code)
    assert message.startswith(f"ddad-run: {option} is ") and "\n" not in message and (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("page, parameters, says", [
    ("page.ipynb", "[1]", ["[1]", "JSON object"]), ("page.ipynb", "{k: 3}", ["no JSON", "JSON object"]), ("page.ipynb", '{"no_such": 1}', ["no parameter no_such"]), ("", "{}", ["is a folder"])])
def test_ddad_notebook_says_what_is_wrong(tmp_path, page, parameters, says):
    with pytest.raises(SystemExit) as stop: main_notebook(["nbs/paper/run.ipynb", str(tmp_path / page), parameters])
    message = str(stop.value.code)
    assert message.startswith("ddad-notebook: ") and "\n" not in message and all(s in message for s in says)
    assert not list(tmp_path.iterdir())
