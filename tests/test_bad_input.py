"What a user gets wrong: one clear sentence, exit status not 0, nothing left behind."
from dataclasses import replace

import pytest

from ddad import load_benchmark
from ddad.study.command import main
from ddad.study.config import Config
from ddad.study.run import open_run

SMALL = ["--image-size", "32", "--batch-size", "16", "--n-unlabeled", "24", "--epochs", "1"]


def drop_image(d): (d / "images/test_normal_03.png").unlink()
def spoil_image(d): (d / "images/test_normal_03.png").write_text("no image")


def refused(capsys, arguments, out):
    "The one sentence with which ddad-run refuses."
    with pytest.raises(SystemExit) as stop: main([*arguments, "--out", str(out)])
    message = str(stop.value.code)
    assert message.startswith("ddad-run: ") and "\n" not in message and "Traceback" not in message
    assert not out.exists()
    return message


@pytest.mark.parametrize("damage, says", [
    (drop_image, ["'test_normal_03.png' is missing", "test.0"]),
    (spoil_image, ["test_normal_03.png cannot be read as an image"])])
def test_damaged_benchmark(discs, tmp_path, capsys, damage, says):
    damage(discs / "Discs")
    message = refused(capsys, ["--data", str(discs), "--benchmark", "Discs", *SMALL], tmp_path / "out")
    assert all(s in message for s in says)


@pytest.mark.parametrize("arguments, says", [
    (["--benchmark", "Disks"], ["'Disks'", "Discs"]), (["--data", "/nowhere"], ["/nowhere", "DDAD_DATA"]),
    (["--backbone", "VAE"], ["'VAE'", "MemAE"]),
    (["--n-unlabeled", "40", "--anomaly-rate", "1"], ["40 abnormal", "24 and 24"]),
    (["--batch-size", "100"], ["48 known-normal"]), (["--device", "cuda:7"], ["cuda:7"])])
def test_wrong_setting(root, tmp_path, capsys, arguments, says):
    message = refused(capsys, ["--data", str(root), "--benchmark", "Discs", *SMALL, *arguments],
                      tmp_path / "out")
    assert all(s in message for s in says)


def test_a_folder_of_another_run_is_refused(root, tmp_path):
    config = Config.of("Discs", epochs=1)
    open_run(tmp_path / "run", config, "hash")
    for other, data in ((replace(config, epochs=2), "hash"), (config, "other")):
        with pytest.raises(ValueError, match="holds another run"): open_run(tmp_path / "run", other, data)


def test_load_benchmark_refuses_a_name_outside(root):
    for name in ("../Discs", ".", "", "/etc", "Discs/images"):
        with pytest.raises(ValueError, match="outside the root"): load_benchmark(root, name)


def test_a_benchmark_and_its_images_may_be_links(discs, tmp_path):
    expected = load_benchmark(discs, "Discs", 32, progress=False).hash
    (discs / "Discs/images").rename(tmp_path / "elsewhere")
    (discs / "Discs/images").symlink_to(tmp_path / "elsewhere")
    (discs / "Linked").symlink_to(discs / "Discs")
    for name in ("Discs", "Linked"): assert load_benchmark(discs, name, 32, progress=False).hash == expected
    (discs / "Gone").symlink_to(discs / "nowhere")
    with pytest.raises(ValueError, match="There is no benchmark 'Gone'.*it has Discs"):
        load_benchmark(discs, "Gone")


@pytest.mark.parametrize("option", ["--out", "--store"])
def test_a_file_where_a_folder_belongs(root, tmp_path, option):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SystemExit) as stop:
        main(
            ["--data", str(root), "--benchmark", "Discs", *SMALL, "--out", str(tmp_path / "out"), option,
             str(tmp_path / "file")])
    message = str(stop.value.code)
    assert message.startswith(f"ddad-run: {option} is ")
    assert "\n" not in message
    assert (tmp_path / "file").read_text() == "mine"
