"The registry of benchmarks, their labels, and opening them by name."
import os

import pytest
import torch

from ddad import load_benchmark
from ddad.datasets import opening
from ddad.datasets.layout import list_names
from ddad.datasets.opening import benchmark_root
from ddad.datasets.registry import CARDS, card, known_labels, shipped_labels, shipped_repartition
from ddad.method.data import draw_unlabeled
from ddad.study.config import PRESETS, Config
from ddad.study.run import known_columns

NAMES_ALONE = ["RSNA", "VinCXR", "LAG"]  # no kinds, no groups
SHIPPED = [name for name, c in CARDS.items() if c.shipped]


def test_the_cards_agree_with_the_shipped_repartitions_and_the_presets():
    assert SHIPPED == [*NAMES_ALONE, "BrainTumor", "BrainTumorLeakFree", "NIH", "Kermany", "RSNAPart", "LGG",
                       "ODIR"]
    for name in SHIPPED:
        lists, c = shipped_repartition(name), card(name)
        assert tuple(len(names) for names in lists.values()) == c.counts
        assert len({n for names in lists.values() for n in names}) == sum(c.counts)
        config = Config.of(name)
        assert config.n_unlabeled == c.n_unlabeled
        assert int(c.n_unlabeled * 0.6) <= c.counts[2]
        assert c.n_unlabeled - int(c.n_unlabeled * 0.6) <= c.counts[1]
    assert set(PRESETS) <= set(CARDS) and Config.of("RSNAPart", backbone="AE-U").name == "RSNAPart_AE-U_seed0"
    assert not any(card(name).panels for name in ("LGG", "ODIR", "RSNAPart"))
    assert card("NIH").panels
    assert card("my own").title == "my own"


def test_groups_keep_to_one_side_but_for_the_repartition_that_leaks():
    for name in SHIPPED[len(NAMES_ALONE):]:
        table, sides = shipped_labels(name), {}
        for split, group in zip(table["split"], table["group"]):
            sides.setdefault(group, set()).add(split.startswith("test"))
        assert (max(map(len, sides.values())) == 1) == (name != "BrainTumor")


@pytest.mark.parametrize("name", NAMES_ALONE)
def test_of_the_papers_other_lists_the_names_alone_are_known(name, tmp_path, monkeypatch):
    lists = shipped_repartition(name)
    assert list(shipped_labels(name)) == ["image", "split"]
    assert known_labels(name) == {}
    assert len(
        draw_unlabeled(lists["unlabeled_normal"], lists["unlabeled_abnormal"], card(name).n_unlabeled,
                       0.6)[1]) == card(name).n_unlabeled * 0.6
    monkeypatch.setenv("DDAD_DATA", str(tmp_path))
    says = f"There is no {name}-split1, since the paper's list of {name} has no kinds and groups: make one with ddad-data repartition."
    for arguments in ((f"{name}-split1",), (tmp_path, f"{name}-split1")):
        with pytest.raises(ValueError, match=f"^{says}$"): load_benchmark(*arguments)
    (tmp_path / f"{name}-split1").mkdir()
    (tmp_path / f"{name}-split1/data.json").write_text("{}")
    # a folder of the user's own goes first
    assert benchmark_root(f"{name}-split1", tmp_path) == benchmark_root(f"{name}-split1") == tmp_path


def labelled(discs, rows=None):
    "Writes labels.csv of the benchmark Discs: its images, each its own patient."
    names = [n for split in list_names(discs / "Discs").values() for n in split]
    rows = rows or ["image,kind,patient",
                    *(f"{n},{'bright' if 'abnormal' in n else 'none'},{i // 2}"
                      for i, n in enumerate(names)), "unused.png,none,99"]
    (discs / "Discs/labels.csv").write_text("\n".join(rows) + "\n")
    return names


def test_labels_become_part_of_the_benchmark_and_change_no_hash(discs):
    plain = load_benchmark(discs, "Discs", 32, progress=False)
    names = labelled(discs)
    labelled_discs = load_benchmark(discs, "Discs", 32, progress=False)
    assert plain.labels_table == {}
    assert labelled_discs.hash == plain.hash
    assert torch.equal(labelled_discs.test, plain.test)
    assert list(labelled_discs.labels_table) == ["image", "kind", "patient"]
    assert labelled_discs.labels_table["image"] == [*names, "unused.png"]
    assert labelled_discs.column("patient", names[:3]) == ["0", "0", "1"]
    with pytest.raises(ValueError, match="Discs have no column 'sex': they have image, kind, patient"):
        labelled_discs.column("sex", names)
    columns = known_columns(labelled_discs)
    assert len(columns["group"]) == len(labelled_discs.test_names)
    assert columns["group"][:3] == ["0", "0", "1"]
    assert set(columns["kind"]) == {"none", "bright"}
    assert known_columns(plain) == {}
    n = len(labelled_discs.names["unlabeled_abnormal"])
    assert torch.equal(labelled_discs.unlabeled(n, 1.0, match="bright"), labelled_discs.unlabeled_abnormal)
    with pytest.raises(ValueError, match="their kinds are bright"):
        labelled_discs.unlabeled(n, 1.0, match="dark")
    with pytest.raises(ValueError, match="labels of Discs have no row for 'gone.png': name"):
        labelled_discs.column("kind", ["gone.png"])
    (discs / "Discs/labels.csv").write_bytes("image,kind\na.png,Gefäß\n".encode("latin-1"))
    with pytest.raises(ValueError, match="labels.csv is not UTF-8: save"):
        load_benchmark(discs, "Discs", 32, progress=False)


@pytest.mark.parametrize("change, says", [
    (lambda rows: ["name,kind,patient", *rows[1:]], "lacks the column image"),
    (lambda rows: rows[:-3] + rows[-1:], "lacks 2 of .* images, such as"),
    (lambda rows: [*rows, rows[1]], "lists .* twice: give each image one row"),
    (lambda rows: [], "is no table that can be read"),
])
def test_labels_that_do_not_fit_are_refused_in_one_sentence(discs, change, says):
    labelled(discs)
    path = discs / "Discs/labels.csv"
    path.write_text("".join(f"{row}\n" for row in change(path.read_text().splitlines())))
    with pytest.raises(ValueError, match=f"labels.csv {says}") as error:
        load_benchmark(discs, "Discs", 32, progress=False)
    assert "\n" not in str(error.value)


def test_unlabeled_images_are_drawn_by_kind_or_by_name():
    normal = [f"n{i}" for i in range(9)]
    abnormal = ["a-gl.png", "b-me.png", "c-gl.png", "d.png"]
    kinds = ["glioma", "meningioma", "glioma", "gliosis"]
    for match, wanted in (("glioma", [0, 2]), ("gli*", [0, 2, 3]), ("*-gl*", [0, 2]), ("", [0, 1, 2, 3])):
        assert draw_unlabeled(normal, abnormal, len(wanted), 1.0, match=match, kinds=kinds)[1] == wanted
    with pytest.raises(
        ValueError, match="match is 'x', but no .*: their kinds are glioma, gliosis, meningioma"):
        draw_unlabeled(normal, abnormal, 1, 1.0, match="x", kinds=kinds)
    with pytest.raises(
        ValueError, match="match is 'x', but no unlabeled abnormal image has such a kind or file name.$"):
        draw_unlabeled(normal, abnormal, 1, 1.0, match="x")


def test_what_the_package_knows_stands_for_a_missing_table(discs, monkeypatch):
    names = [n for split in list_names(discs / "Discs").values() for n in split]
    known = {"image": [*names, "more.png"], "kind": ["a kind"] * (len(names) + 1)}
    monkeypatch.setattr(opening, "known_labels", lambda name: known)
    assert load_benchmark(discs, "Discs", 32, progress=False).labels_table == known
    known["image"][0] = "another.png"
    # a folder of the same name with other images
    assert load_benchmark(discs, "Discs", 32, progress=False).labels_table == {}
    monkeypatch.undo()
    assert list(known_labels("NIH-split1")) == ["image", "kind", "group"]
    assert len(known_labels("NIH")["image"]) == sum(CARDS["NIH"].counts)


def test_a_run_takes_its_groups_from_the_column_that_the_card_names(discs):
    images = [n for names in list_names(discs / "Discs").values() for n in names]
    (discs / "Discs/labels.csv").write_text("image,patient,group\n"
                                            + "".join(f"{n},p{i // 2},all\n" for i, n in enumerate(images)))
    os.symlink(discs / "Discs", discs / "Kermany")
    groups = {name: known_columns(load_benchmark(discs, name, 32, progress=False))["group"]
              for name in ("Discs", "Kermany")}
    assert set(groups["Discs"]) == {"0"} and groups["Kermany"] == [str(i // 2) for i in range(24)]


def test_a_cache_folder_that_cannot_be_written_costs_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "Med-AD/BrainTumor/images").mkdir(parents=True)
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("DDAD_CACHE", str(tmp_path / "cache"))
    with pytest.raises(OSError, match="BrainTumorLeakFree needs a link.*ddad-data repartition"):
        benchmark_root("BrainTumorLeakFree", tmp_path / "Med-AD")
