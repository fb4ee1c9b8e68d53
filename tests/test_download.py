"The download, whole, from a local server that serves a small record as Zenodo does and misbehaves in every way that was thought of."
import gzip
import hashlib
import io
import json
import shutil
import sys
import tarfile
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import make_discs
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ddad.datasets import archive, check
from ddad.datasets import download as dl
from ddad.datasets.commands import main
from ddad.datasets.layout import list_names, read_repartition
from ddad.datasets.registry import shipped_repartition

NAME, FILE = "BrainTumor", "BrainTumor.tar.gz"
KEY = f"/api/records/12677223/files/{FILE}/content"


# ---- the server

class Zenodo(ThreadingHTTPServer):
    "`script`: what to do with each next request of the file, `record_script`: of the record; `asked`: the headers of the requests of the file; `sent`: bytes of each answer."
    daemon_threads = True

    def __init__(self, content):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.script = []
        self.record_script = []
        self.asked = []
        self.sent = []
        self.paths = []
        self.stop = threading.Event()
        self.base = f"http://127.0.0.1:{self.server_port}/api/records"
        self.file = {"key": FILE, "size": len(content), "checksum": "md5:" + hashlib.md5(content).hexdigest()}
        self.record = {
            "files": [{"key": "LAG.tar.gz", "size": 9, "checksum": "md5:" + "0" * 32},
                      self.file]}

    def handle_error(self, *_): pass  # the client went away

    @property
    def ranges(self): return [h["Range"] for h in self.asked]

    @property
    def archive(self): return dl.find_archive(NAME, self.base)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.paths.append(self.path)
        if self.path == "/api/records/12677223":
            step = server.record_script.pop(0) if server.record_script else {}
            return self.answer(step, json.dumps(server.record).encode())
        if self.path not in (KEY, "/elsewhere"): return self.answer({"status": 404}, b"")
        server.asked.append(self.headers)
        step = server.script.pop(0) if server.script else {}
        start, headers = 0, {"ETag": step["etag"]} if "etag" in step else {}
        if self.headers["Range"] and not step.get("no_range"):
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            headers["Content-Range"] = step.get(
                "range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        self.answer(
            {"status": 206 if "Content-Range" in headers else 200, **step,
             "headers": {**headers, **step.get("headers", {})}}, server.content[start:])

    def answer(self, step, body):
        self.send_response(step.get("status", 200))
        body = step.get("body", body)
        for name, value in {"Content-Length": len(body), **step.get("headers", {})}.items():
            if value is not None: self.send_header(name, str(value))
        self.end_headers()
        sent = body[:step.get("cut")]
        self.server.sent.append(len(sent))
        self.wfile.write(sent)
        self.wfile.flush()
        if "stall" in step: self.server.stop.wait(step["stall"])

    def log_message(self, *_): pass


@contextmanager
def serving(content):
    server = Zenodo(content)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try: yield server
    finally:
        server.stop.set()
        server.shutdown()
        server.server_close()


class Packed(bytes):
    def __repr__(self): return f"<{len(self):,} bytes>"


@pytest.fixture(scope="session")
def content(tmp_path_factory):
    "The archive of a small benchmark, with a top folder as the published ones."
    folder = tmp_path_factory.mktemp("archive")
    make_discs(folder, NAME, side=64)
    with tarfile.open(folder / FILE, "w:gz") as tar: tar.add(folder / NAME, NAME)
    data = Packed((folder / FILE).read_bytes())
    assert len(data) > 2 * dl.CHUNK
    return data


@pytest.fixture
def zenodo(content):
    with serving(content) as server: yield server


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(dl, "BACKOFF", 0.001)
    monkeypatch.setattr(dl, "TIMEOUT", 5.0)
    for name in ("no_proxy", "NO_PROXY"): monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.delenv("DDAD_ZENODO", raising=False)


def sentence(error):
    text = str(error.value)
    assert text.endswith(".")
    assert "\n" not in text
    assert ": " in text
    assert "Errno" not in text
    assert type(error.value) in (OSError, ValueError)
    return text


def refused(says, *arguments, call=dl.download, kind=(OSError, ValueError), **kwargs):
    with pytest.raises(kind) as error: call(*arguments, progress=False, **kwargs)
    assert says in sentence(error)
    return sentence(error)


def files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


def whole(root, content):
    "Whether the benchmark is as it was packed and nothing else is left."
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        packed = {m.name: tar.extractfile(m).read() for m in tar if m.isreg()}
    return {k: v for k, v in files(root).items() if k != ".downloads/.archives.lock"} == packed


# ---- all is well

def test_a_benchmark_comes_whole_and_once(zenodo, tmp_path, content):
    root = tmp_path / "new" / "Med-AD"
    assert dl.download(NAME, root, zenodo.base, progress=False) == root / NAME
    assert whole(root, content)
    assert zenodo.ranges == [None]
    assert zenodo.asked[0]["Accept-Encoding"] == "identity"
    assert len(read_repartition(root, NAME)["normal"]) == 48
    paths = list(zenodo.paths)
    assert dl.download(NAME, str(root), zenodo.base) == root / NAME and zenodo.paths == paths


def test_an_archive_that_is_there_is_not_fetched_again(zenodo, tmp_path, content):
    there = tmp_path / ".downloads" / FILE
    there.parent.mkdir()
    for before, requests in ((content, 0), (b"damaged", 1)):
        there.write_bytes(before)
        dl.download(NAME, tmp_path, zenodo.base, progress=False)
        assert zenodo.ranges == [None] * requests
        assert whole(tmp_path, content)
        shutil.rmtree(tmp_path / NAME)


# ---- connections that break


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(1, 100_000), max_size=8))
def test_after_any_breaks_only_the_rest_is_asked_for(content, tmp_path, cuts):
    with serving(content) as server:
        server.script = [{"cut": cut} for cut in cuts]
        assert dl.fetch(server.archive, tmp_path, progress=False).read_bytes() == content
        assert sum(server.sent[1:]) == len(content), "the record, then each byte once"
    for path in tmp_path.iterdir(): path.unlink()


def test_a_server_that_brings_nothing_is_given_up_and_the_rest_is_kept(zenodo, tmp_path, content):
    zenodo.script = [{"cut": 100_000}] + [{"cut": 0}] * dl.TRIES
    assert "100,000 bytes" in refused("breaks off again and again", NAME, tmp_path, zenodo.base)
    assert files(tmp_path) == {f".downloads/{FILE}.part": content[:100_000], ".downloads/.archives.lock": b""}
    zenodo.asked.clear()
    dl.download(NAME, tmp_path, zenodo.base, progress=False)
    assert whole(tmp_path, content) and zenodo.ranges == ["bytes=100000-"]


@pytest.mark.parametrize("step, ranges", [
    ({"no_range": True}, ["bytes=100000-"]),
    ({"status": 416, "body": b""}, ["bytes=100000-", None]),
    ({"range": "bytes 100000-1000000/1000001"}, ["bytes=100000-", None]),
])
def test_what_is_there_is_used_where_it_fits(zenodo, tmp_path, content, step, ranges):
    (tmp_path / f"{FILE}.part").write_bytes(content[:100_000])
    zenodo.script = [step]
    assert dl.fetch(zenodo.archive, tmp_path, progress=False).read_bytes() == content
    assert zenodo.ranges == ranges


@pytest.mark.parametrize("more, ranges", [(b"", []), (b"more", [None])])
def test_a_part_that_is_all_there_is_taken_and_one_that_is_longer_is_not(
    zenodo, tmp_path, content, more, ranges):
    (tmp_path / f"{FILE}.part").write_bytes(content + more)
    assert dl.fetch(zenodo.archive, tmp_path, progress=False).read_bytes() == content
    assert zenodo.ranges == ranges


def test_the_rest_is_asked_for_only_of_the_same_file(zenodo, tmp_path, content):
    zenodo.script = [{"cut": 90_000, "etag": '"a"'}, {"cut": 10, "etag": 'W/"b"'}, {}]
    assert dl.fetch(zenodo.archive, tmp_path, progress=False).read_bytes() == content
    assert [h["If-Range"] for h in zenodo.asked] == [None, '"a"', None]
    assert zenodo.ranges == [None, "bytes=90000-", "bytes=90010-"]


def test_a_stalled_connection_is_left(zenodo, tmp_path, content, monkeypatch):
    monkeypatch.setattr(dl, "TIMEOUT", 0.2)
    zenodo.script = [{"cut": 140_000, "stall": 20}, {"cut": 0, "stall": 20}, {}]
    assert dl.fetch(zenodo.archive, tmp_path, progress=False).read_bytes() == content
    assert zenodo.ranges == [None] + [f"bytes={140_000 // dl.CHUNK * dl.CHUNK}-"] * 2


def test_a_busy_server_is_asked_again(zenodo, tmp_path, content):
    zenodo.script = [{"status": 503}, {"status": 429, "headers": {"Retry-After": 0}}]
    zenodo.record_script = [{"status": 503}]
    dl.download(NAME, tmp_path, zenodo.base, progress=False)
    assert whole(tmp_path, content) and len(zenodo.asked) == 3


@pytest.mark.parametrize("status, requests", [(500, dl.TRIES), (404, 1)])
def test_a_server_that_refuses_is_given_up(zenodo, tmp_path, status, requests):
    zenodo.script = [{"status": status, "body": b""}] * 20
    assert zenodo.base in refused(f"answers {status}", NAME, tmp_path, zenodo.base, kind=OSError)
    assert len(zenodo.asked) == requests
    assert files(tmp_path) == {".downloads/.archives.lock": b""}


def test_no_server_and_no_address(tmp_path, zenodo):
    refused("127.0.0.1:1/api/12677223 cannot be reached", NAME, tmp_path, "http://127.0.0.1:1/api",
            kind=OSError)
    for address in ("nothing", "file:///etc", "http://[1", "http://"):
        refused("cannot be reached", NAME, tmp_path, address, kind=OSError)
    refused("answers 404", NAME, tmp_path, zenodo.base + "/more", kind=OSError)


# ---- a server that is not honest

def test_a_wrong_checksum_deletes_the_file(zenodo, tmp_path, content):
    zenodo.content = content[:-1] + bytes([content[-1] ^ 1])
    for _ in range(2):
        assert "deleted" in refused(f"{FILE}/content does not have the checksum", NAME, tmp_path, zenodo.base,
                                    kind=ValueError)
        assert files(tmp_path) == {".downloads/.archives.lock": b""}
    zenodo.content = content
    dl.download(NAME, tmp_path, zenodo.base, progress=False)
    assert whole(tmp_path, content)


def test_never_more_bytes_than_the_record_says(zenodo, tmp_path, content):
    zenodo.script = [{"body": content + bytes(10**7), "headers": {"Content-Length": None}}]
    assert dl.fetch(zenodo.archive, tmp_path / "a", progress=False).read_bytes() == content
    zenodo.script = [{"body": content + b"more"}] * dl.TRIES
    refused("does not fit the record", zenodo.archive, tmp_path / "b", call=dl.fetch, kind=OSError)
    assert files(tmp_path / "b") == {}


def test_the_server_may_lead_on_and_the_checksum_decides(zenodo, tmp_path, content):
    for name, body in (("same", content), ("wrong", content[::-1])):
        with serving(body) as other:
            zenodo.script = [
                {"status": 302, "headers": {"Location": f"{other.base}{KEY.removeprefix('/api/records')}"}}]
            if name == "same": assert dl.fetch(zenodo.archive, tmp_path / name,
                                               progress=False).read_bytes() == content and other.paths
            else: refused("checksum", zenodo.archive, tmp_path / name, call=dl.fetch)
    zenodo.script = [{"status": 302, "headers": {"Location": "/elsewhere"}}] * 40
    refused("cannot be reached (TooManyRedirects)", zenodo.archive, tmp_path / "b", call=dl.fetch,
            kind=OSError)


def test_the_command_fetches_and_checks(zenodo, tmp_path, content, capsys, monkeypatch):
    monkeypatch.setattr(check, "SAMPLE", 4)
    command = ["download", NAME, "--root", str(tmp_path), "--base-url", zenodo.base]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "| train.0 | 48 |" in shown
    assert f"ddad-run --benchmark {NAME}" in shown
    assert whole(tmp_path, content)
    assert main(["download", "LAG", *command[2:]]) == 2
    error = capsys.readouterr().err
    assert "answers 404" in error and error.count("\n") == 1


@pytest.mark.parametrize("change, says", [
    (lambda z: z.record_script.append({"body": b"<html>"}), "is not a record"),
    (lambda z: z.record_script.append({"cut": 50}), "broke off"),
    (lambda z: setattr(z, "record", {"files": [3]}), "is not a record"),
    (lambda z: z.record["files"].pop(), "has no BrainTumor.tar.gz: it has LAG.tar.gz."),
    (lambda z: z.file.update(size="7"), "the size '7'"),
    (lambda z: z.file.update(checksum="md5:12"), "the checksum 'md5:12'"),
])
def test_a_record_that_is_none(zenodo, tmp_path, change, says):
    change(zenodo)
    refused(says, NAME, tmp_path, zenodo.base)
    assert zenodo.asked == []


# ---- without the extra

def test_a_missing_package_is_named_with_its_extra_and_nothing_is_made(zenodo, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pooch", None)
    assert main(["download", NAME, "--root", str(tmp_path / "root"), "--base-url", zenodo.base]) == 2
    assert capsys.readouterr().err == "ddad-data: pooch is not installed: run pip install '.[data]' in a clone of ddad.\n"
    assert list(tmp_path.iterdir()) == [] and zenodo.paths == []
    make_discs(tmp_path, NAME)
    assert dl.download(NAME, tmp_path) == tmp_path / NAME, "what is there needs no package"


# ---- the disk

def test_space_is_checked_first(zenodo, tmp_path, content, monkeypatch):
    size = len(content)
    (tmp_path / ".downloads").mkdir()
    (tmp_path / ".downloads" / f"{FILE}.part").write_bytes(content[:100_000])
    monkeypatch.setattr(dl.shutil, "disk_usage",
                        lambda _: SimpleNamespace(free=(1 + dl.UNPACKED) * size - 100_001))
    refused("free some space", NAME, tmp_path, zenodo.base, kind=OSError)
    assert zenodo.asked == []
    monkeypatch.setattr(dl.shutil, "disk_usage",
                        lambda _: SimpleNamespace(free=(1 + dl.UNPACKED) * size - 100_000))
    dl.download(NAME, tmp_path, zenodo.base, progress=False)
    assert zenodo.ranges == ["bytes=100000-"]


def test_a_disk_that_fills_up_and_a_root_that_cannot_be_written(zenodo, tmp_path, content, monkeypatch):
    (tmp_path / "file").touch()
    refused("cannot be written (", NAME, tmp_path / "file" / "deeper", zenodo.base, kind=OSError)
    def fail(*_): raise OSError(28, "No space left on device", str(tmp_path))
    for module, where, left in ((dl, "_append", {".downloads/.archives.lock"}),
                                (archive, "_write", {".downloads/.archives.lock", f".downloads/{FILE}"})):
        with monkeypatch.context() as patch:
            patch.setattr(module, where, fail)
            refused("cannot be written (No space left on device)", NAME, tmp_path / where, zenodo.base,
                    kind=OSError)
        assert set(files(tmp_path / where)) == left


def test_an_unknown_name_and_a_folder_that_is_there(zenodo, tmp_path):
    for name in ("Brain", "../RSNA", ""):
        assert "RSNA, VinCXR, LAG" in refused("There is no archive", name, tmp_path, zenodo.base,
                                              kind=ValueError)
    (tmp_path / NAME).mkdir()
    (tmp_path / NAME / "mine.txt").touch()
    refused("is there already", NAME, tmp_path, zenodo.base, kind=OSError)
    assert zenodo.paths == []
    (tmp_path / NAME / "mine.txt").unlink()
    assert dl.download(NAME, tmp_path, zenodo.base, progress=False)


def test_a_repartition_that_names_what_is_missing(tmp_path):
    next((make_discs(tmp_path, NAME) / "images").iterdir()).unlink()
    with tarfile.open(tmp_path / FILE, "w:gz") as tar: tar.add(tmp_path / NAME, NAME)
    with serving((tmp_path / FILE).read_bytes()) as server, pytest.raises(
        FileNotFoundError, match="is missing"):
        dl.download(NAME, tmp_path / "root", server.base, progress=False)


# ---- processes


def test_two_at_once_take_turns(zenodo, tmp_path, content, capsys):
    zenodo.script = [{"cut": 90_000, "stall": 0.3}]
    threads = [threading.Thread(target=dl.download, args=(NAME, tmp_path, zenodo.base, False))
               for _ in range(2)]
    for t in threads: t.start()
    for t in threads: t.join()
    assert whole(tmp_path, content)
    assert zenodo.ranges == [None, "bytes=90000-"]
    assert "waiting for it" in capsys.readouterr().err


# ---- archives

def entry(name, content=b"", **fields):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items(): setattr(info, field, value)
    return info, content


GOOD = [entry("images/a.png", b"a" * 700), entry("data.json", b"{}")]


def pack(path, entries, end=True, form=tarfile.PAX_FORMAT):
    data = b"".join(i.tobuf(form) + c + bytes(-len(c) % 512) for i, c in entries) + bytes(1024 * end)
    path.write_bytes(gzip.compress(data, 1))
    return path


def bad(tmp_path, path, says="", **kwargs):
    with pytest.raises(ValueError) as error: dl.unpack(path, tmp_path / "root", "LAG", **kwargs)
    assert says in sentence(error) and path.name in str(error.value)
    assert list((tmp_path / "root").iterdir()) == []


SPARSE = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "1"}


@pytest.mark.parametrize("filtered", [True, False], ids=["filter", "early 3.11"])
@pytest.mark.parametrize("extra, says", [
    (entry("images/../../x", b"x"), "outside"),
    ("absolute", "outside"),
    (entry("C:/x", b"x"), "outside"),
    (entry("images/l", type=tarfile.SYMTYPE, linkname="a.png"), "no plain file"),
    (entry("images/l", type=tarfile.LNKTYPE, linkname="images/a.png"), "no plain file"),
    (entry("images/d", type=tarfile.CHRTYPE), "no plain file"),
    (entry("images/s", b"1\n0\n1\n" + bytes(506), pax_headers=SPARSE), "no plain file"),
    (entry("./images//a.png", b"b"), "twice"),
    (entry("images/a.png/b", b"b"), "twice"),
    (entry("images/z", bytes(archive.FLOOR)), "unpacks to more"),
    (entry("images/n", b"x", pax_headers={"size": "-512"}), "cannot be unpacked"),
])
def test_an_evil_archive_is_refused_and_nothing_is_left(tmp_path, monkeypatch, extra, says, filtered):
    if not filtered: monkeypatch.delattr(tarfile, "data_filter", raising=False)
    extra = entry(str(tmp_path / "x"), b"x") if extra == "absolute" else extra
    bad(tmp_path, pack(tmp_path / "evil.tar.gz", [*GOOD, extra]), says)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["evil.tar.gz", "root"]


def test_headers_cannot_grow_in_memory(tmp_path):
    long_name = tarfile.TarInfo("././@LongLink")
    long_name.type, long_name.size = tarfile.GNUTYPE_LONGNAME, (1 << 33) - 1
    path = pack(tmp_path / "bomb.tar.gz", GOOD + [(long_name, b"x" * 512)])
    bad(tmp_path, path, "between two files")
    chain = [entry("x", b"9 a=bcd\n\n", type=tarfile.XHDTYPE)] * 3000
    bad(tmp_path, pack(path, GOOD + chain))
    bad(tmp_path, pack(path, GOOD + [entry("end")], end=5000), "between two files")


@pytest.mark.parametrize("top", ["", "./LAG/", "Med-AD/"])
def test_with_a_top_folder_or_without(tmp_path, top):
    junk = [entry(f"{top}images/._a.png", b"x"), entry(f"__MACOSX/{top.strip('./')}/images/b.png", b"x")]
    folders = [entry(n, type=tarfile.DIRTYPE) for n in dict.fromkeys(["./", top or ".", f"{top}images/"])]
    path = pack(tmp_path / "a.tar.gz",
                [*folders, *((entry(top + i.name, c, mode=0o7777, uid=12345)) for i, c in GOOD), *junk])
    (tmp_path / "root" / ".LAG.part" / "images").mkdir(parents=True)
    (tmp_path / "root" / ".LAG.part" / "images" / "stale.png").touch()
    folder = dl.unpack(path, tmp_path / "root", "LAG")
    assert files(tmp_path / "root") == {"LAG/images/a.png": b"a" * 700, "LAG/data.json": b"{}"}
    assert path.exists()
    state, ours = (folder / "images/a.png").stat(), path.stat()
    assert state.st_mode == ours.st_mode and state.st_uid == ours.st_uid


def test_what_is_missing_is_said_and_a_repartition_comes_from_the_package(tmp_path):
    bad(tmp_path, pack(tmp_path / "a.tar.gz", GOOD[1:]), "has no images: unpack it to")
    assert list_names(
        dl.unpack(pack(tmp_path / "a.tar.gz", GOOD[:1]), tmp_path / "root",
                  "LAG")) == shipped_repartition("LAG")
    with pytest.raises(
        ValueError, match="a.tar.gz has no data.json: unpack it to .* and add what is missing.$"):
        dl.unpack(tmp_path / "a.tar.gz", tmp_path / "root", "Mine")


def test_what_is_no_archive(tmp_path):
    path = tmp_path / "a.tar.gz"
    for data in (b"", b"text", gzip.compress(b"text" * 500), gzip.compress(bytes(10240))):
        path.write_bytes(data)
        bad(tmp_path, path)
    bad(tmp_path, pack(path, GOOD, end=False), "end is missing")
    path.unlink()
    with pytest.raises(OSError, match="There is no file"): dl.unpack(path, tmp_path / "root", "LAG")
    for name in ("..", "a/b", ".x"):
        with pytest.raises(ValueError, match="plain name"): dl.unpack(path, tmp_path, name)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.booleans(), at=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_any_damage_is_found(tmp_path, content, cut, at, flip):
    damaged, at, root = bytearray(content), int(at * len(content)), tmp_path / "root"
    if cut: del damaged[at:]
    else: damaged[at] ^= flip
    path = tmp_path / "a.tar.gz"
    path.write_bytes(damaged)
    try: dl.unpack(path, root, NAME)
    except ValueError: assert not any(root.iterdir())
    else: assert whole(root, content)  # damage of what gzip does not need, such as the name that it keeps
    shutil.rmtree(root)


NAMES = st.lists(
    st.sampled_from(
        ["images", "a", "b.png", "..", ".", "", "/", "data.json", "._x", "\\", "LAG",
         "é\udcff"]), max_size=4).map("/".join)
TYPES = st.sampled_from([tarfile.REGTYPE] * 4
                        + [tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE,
                           tarfile.GNUTYPE_SPARSE, tarfile.AREGTYPE, tarfile.CONTTYPE])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(members=st.lists(st.tuples(NAMES, TYPES, NAMES, st.binary(max_size=5)), max_size=6),
       form=st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]))
# tarfile takes the data of a folder for the end of the archive
@example(members=[("LAG/", tarfile.AREGTYPE, "", b"\x00"), ("../a", tarfile.SYMTYPE, "", b"")],
         form=tarfile.GNU_FORMAT)
def test_no_archive_writes_outside_or_leaves_a_half(tmp_path, members, form):
    root = tmp_path / "deep" / "root"
    shutil.rmtree(root, ignore_errors=True)
    path = pack(tmp_path / "a.tar.gz",
                [*GOOD, *(
                    entry(n, c if t in (tarfile.REGTYPE, tarfile.AREGTYPE) else b"", type=t,
                          linkname=link) for n, t, link, c in members)], form=form)
    try: dl.unpack(path, root, "LAG")
    except ValueError: assert not any(root.iterdir())
    else:
        assert [p.name for p in root.iterdir()] == ["LAG"]
        assert not any(p.is_symlink() for p in root.rglob("*"))
        assert (root / "LAG/images/a.png").read_bytes() == b"a" * 700
        assert all(t in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE) for _, t, _, _ in members)
    assert {p.name for p in tmp_path.iterdir()} == {"a.tar.gz", "deep"}
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["root"]
    shutil.rmtree(root)
