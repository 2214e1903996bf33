from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bench import weights
from bench.__main__ import main
from bench.errors import BenchError, DataError, MissingError, RunError
from bench.weights import fetch


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "weights"
    monkeypatch.setenv("BENCH_WEIGHTS", str(folder))
    return folder


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_the_lock_is_complete() -> None:
    known = weights.entries()
    for name in [
        "efficientnet-lite0",
        "resnet101-imagenet",
        "resnet50-imagenet",
        "openai-dvae",
        "chexbert",
        "radgraph",
        "radgraph-xl",
        "modern-radgraph-xl",
        "bioclinicalbert",
        "mgca-resnet50",
        "mgca-vit",
        "r2gen-iu",
        "r2gen-mimic",
        "r2gencmn-iu",
        "r2gencmn-mimic",
    ]:
        entry = known[name]
        assert entry.source
        assert entry.licence
        assert entry.file
    places = [weights.place(e) for e in known.values()]  # with companions: a folder of its own
    assert len(set(places)) == len(places)


def bert_folder(folder: Path) -> Path:
    """What a BERT's page offers: weights, configuration, vocabulary."""
    for name in ("config.json", "vocab.txt"):
        write(folder / name, name.encode())
    return write(folder / "pytorch_model.bin", b"weights")


def test_companions_are_taken_along(home: Path, tmp_path: Path) -> None:
    source = bert_folder(tmp_path / "given")
    write(home / "vocab.txt", b"another BERT's")  # as bert-base-uncased-vocab has it
    found = weights.add("bioclinicalbert", source)
    assert found.path == home / "bioclinicalbert" / "pytorch_model.bin"
    assert (found.path.parent / "vocab.txt").read_bytes() == b"vocab.txt"
    assert weights.resolve("bioclinicalbert") == found


def test_weights_without_their_companions_are_refused(home: Path, tmp_path: Path) -> None:
    source = bert_folder(tmp_path / "given")
    (tmp_path / "given" / "vocab.txt").unlink()
    with pytest.raises(MissingError, match=r"vocab\.txt must lie beside .*pytorch_model\.bin"):
        weights.add("bioclinicalbert", source)
    assert not home.exists()
    weights.add("bioclinicalbert", bert_folder(tmp_path / "given"))
    (home / "bioclinicalbert" / "config.json").unlink()
    with pytest.raises(MissingError, match=r"config\.json must lie beside") as caught:
        weights.resolve("bioclinicalbert")
    hint = caught.value.hint
    assert "get pytorch_model.bin, config.json and vocab.txt" in hint
    assert "bench weights add bioclinicalbert FOLDER/pytorch_model.bin" in hint


def test_packaged_weights_need_no_download() -> None:
    found = weights.resolve("efficientnet-lite0")
    assert found.digest == weights.entry("efficientnet-lite0").sha256
    assert found.path.name.endswith(".pth")


def test_a_missing_file_says_why_and_how() -> None:
    with pytest.raises(MissingError, match="no weights 'chexbert'") as caught:
        weights.resolve("chexbert")
    assert "bench weights add chexbert FILE" in caught.value.hint


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(BenchError, match="chexbrt") as caught:
        weights.resolve("chexbrt")
    assert "'chexbert'" in caught.value.hint


def test_add_records_a_digest_and_later_changes_are_refused(home: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "download.pth", b"weights")
    found = weights.add("chexbert", source)
    assert found == weights.resolve("chexbert")
    assert found.digest == hashlib.sha256(b"weights").hexdigest()
    assert found.path == home / "chexbert.pth"
    write(found.path, b"weightz")
    with pytest.raises(DataError, match="sha256"):
        weights.resolve("chexbert")
    with pytest.raises(DataError, match="is not 'chexbert'"):
        weights.add("chexbert", write(tmp_path / "other.pth", b"forgery"))


def test_a_truncated_file_is_called_truncated(tmp_path: Path) -> None:
    found = weights.add("chexbert", write(tmp_path / "download.pth", b"weights"))
    write(found.path, b"weig")
    with pytest.raises(DataError, match="truncated, 4 bytes instead of 7"):
        weights.resolve("chexbert")


def test_a_digest_in_the_file_name_is_checked(tmp_path: Path) -> None:
    wrong = write(tmp_path / "resnet101-63fe2227.pth", b"not a network")
    with pytest.raises(DataError, match="does not begin with 63fe2227"):
        weights.add("resnet101-imagenet", wrong)
    assert not (weights.folder() / "resnet101-63fe2227.pth").exists()


def test_a_users_own_name(tmp_path: Path) -> None:
    weights.add("my-encoder", write(tmp_path / "e.safetensors", b"1"))
    assert weights.resolve("my-encoder").path.name == "my-encoder.safetensors"
    with pytest.raises(BenchError, match="cannot name"):
        weights.add("../evil", tmp_path / "e.safetensors")


@pytest.mark.parametrize("name", ["chexbert", "my-encoder"])
def test_a_link_in_the_folder_is_not_written_through(
    home: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither where the file goes, nor where its parts went in earlier versions."""
    victim = write(tmp_path / "victim", b"precious")
    home.mkdir()
    monkeypatch.setattr("bench.files.os.getpid", lambda: 7)
    for link in (f"{name}.pth", f"{name}.pth.part", f".{name}.pth.7.part"):
        (home / link).symlink_to(victim)
    with pytest.raises(BenchError, match="is there already"):
        weights.add(name, write(tmp_path / "download.pth", b"weights"))
    (home / f"{name}.pth").unlink()
    found = weights.add(name, tmp_path / "download.pth")
    assert found.path.read_bytes() == b"weights"
    assert not found.path.is_symlink()
    assert victim.read_bytes() == b"precious"


def test_files_of_other_names_are_not_overwritten(home: Path, tmp_path: Path) -> None:
    lock = weights.add("chexbert", write(tmp_path / "chexbert.pth", b"a"))
    file = Path(weights.entry("r2gen-iu").file)
    source = write(tmp_path / f"x{file.suffix}", b"b")
    write(home / "taken.pth", b"by hand")
    before = files(home)
    for name, said in ((file.stem.lower(), "is the file of weights 'r2gen-iu'"),):
        with pytest.raises(BenchError, match=said):
            weights.add(name, source)
    with pytest.raises(BenchError, match="would replace"):
        weights.add("recorded", write(tmp_path / "y.yaml", b"{}"))
    with pytest.raises(BenchError, match="is there already, and is another file"):
        weights.add("taken", write(tmp_path / "t.pth", b"c"))
    assert files(home) == before
    assert weights.resolve("chexbert") == lock


def files(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def fake_import(kind: str, source: Path, target: Path) -> None:
    target.write_bytes(b"converted " + source.read_bytes())


def test_an_import_that_is_refused_changes_nothing(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bench.commands.weights.resolve", lambda target: fake_import)
    first = write(tmp_path / "a" / "model_best.ckpt", b"a")
    second = write(tmp_path / "b" / "model_best.ckpt", b"b")
    assert main(["weights", "import", "mgca", str(first)]) == 0
    before = files(home)
    assert main(["weights", "import", "mgca", str(second)]) == 2
    assert "is not 'mgca-model_best'" in capsys.readouterr().err
    odd = write(tmp_path / "odd name é.ckpt", b"c")
    assert main(["weights", "import", "mgca", str(odd)]) == 2
    assert "bench weights import mgca FILE NAME" in capsys.readouterr().err
    assert files(home) == before
    assert main(["weights", "import", "mgca", str(second), "other"]) == 0
    assert weights.resolve("other").path.read_bytes() == b"converted b"
    assert weights.resolve("mgca-model_best").path.read_bytes() == b"converted a"


def test_listing_and_verify(home: Path, tmp_path: Path) -> None:
    weights.add("chexbert", write(tmp_path / "c.pth", b"weights"))
    write(home / "encoder.pkl", b"by hand")
    states = {row.entry.name: row.state for row in weights.verify()}
    assert states["chexbert"] == "verified"
    assert states["openai-dvae"] == "here, no digest to compare with"
    assert states["radgraph"] == "missing"
    write(home / "chexbert.pth", b"other..")
    assert "sha256" in weights.verify(["chexbert"])[0].state
    text = weights.render(weights.listing())
    assert len(text.splitlines()) == len(weights.entries()) + 1


def archive(path: Path, name: str, content: bytes = b"x") -> Path:
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return path


def test_an_archive_is_unpacked_once_under_its_digest(home: Path, tmp_path: Path) -> None:
    weights.add("radgraph", archive(tmp_path / "r.tar.gz", "config.json", b"{}"))
    folder = weights.unpacked("radgraph")
    assert (folder / "config.json").read_bytes() == b"{}"
    assert folder.name == "radgraph"
    assert weights.unpacked("radgraph") == folder


def test_an_archive_that_reaches_outside_is_refused(home: Path, tmp_path: Path) -> None:
    weights.add("radgraph", archive(tmp_path / "r.tar.gz", "../../escaped"))
    with pytest.raises(DataError, match="cannot be unpacked"):
        weights.unpacked("radgraph")
    assert not list(tmp_path.rglob("escaped"))


def test_a_truncated_archive_is_refused(home: Path, tmp_path: Path) -> None:
    path = archive(tmp_path / "r.tar.gz", "config.json", bytes(range(256)) * 400)
    weights.add("radgraph", write(tmp_path / "cut.tar.gz", path.read_bytes()[:200]))
    with pytest.raises(DataError, match="cannot be unpacked"):
        weights.unpacked("radgraph")


def test_weights_and_clinical_metrics_import_without_torch() -> None:
    code = (
        "import sys, bench.weights\n"
        "from bench.metrics.clinical import chexbert, radgraph, rules\n"
        "sys.exit(any(m in sys.modules for m in "
        "('torch', 'transformers', 'pandas', 'radgraph')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


CONTENT = bytes(range(256)) * 64


class Server(BaseHTTPRequestHandler):
    """Serves CONTENT with ranges; breaks off after `stop` bytes when that is set."""

    stop = 0
    ranges = True
    asked: list[str]

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "")
        self.asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-") or 0) if self.ranges else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start : type(self).stop or None])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Server]]:
    class Here(Server):
        asked: list[str] = []  # noqa: RUF012 - a record of one test

    with ThreadingHTTPServer(("127.0.0.1", 0), Here) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{running.server_address[1]}/chexbert.pth"
        entry = weights.Entry("chexbert", "chexbert.pth", "a test", "none", url=url)
        monkeypatch.setattr(weights, "entries", lambda: {"chexbert": entry})
        yield Here
        running.shutdown()


def test_fetch_downloads_checks_and_records(server: type[Server], home: Path) -> None:
    seen: list[tuple[int, int]] = []
    found = fetch.fetch("chexbert", lambda done, total: seen.append((done, total)))
    assert found.path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert sorted(p.name for p in home.iterdir()) == ["chexbert.pth", "recorded.yaml"]


def test_fetch_takes_companions_along(
    server: type[Server], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = replace(weights.entries()["chexbert"], beside=("config.json",))
    monkeypatch.setattr(weights, "entries", lambda: {"chexbert": entry})
    found = fetch.fetch("chexbert")
    assert sorted(p.name for p in home.iterdir()) == ["chexbert", "recorded.yaml"]
    names = [p.name for p in sorted(found.path.parent.iterdir())]
    assert names == ["chexbert.pth", "config.json"]


def test_an_interrupted_download_is_continued(server: type[Server], home: Path) -> None:
    server.stop = 5000
    with pytest.raises(RunError, match="failed"):
        fetch.fetch("chexbert")
    assert (home / "chexbert.pth.download").stat().st_size == 5000
    server.stop = 0
    assert fetch.fetch("chexbert").path.read_bytes() == CONTENT
    assert server.asked == ["", "bytes=5000-"]


def test_a_server_without_ranges_starts_anew(server: type[Server], home: Path) -> None:
    write(home / "chexbert.pth.download", b"old bytes")
    server.ranges = False
    assert fetch.fetch("chexbert").path.read_bytes() == CONTENT


def test_a_wrong_digest_is_refused_and_deleted(
    server: type[Server], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = weights.replace(weights.entry("chexbert"), sha256="0" * 64)
    monkeypatch.setattr(weights, "entries", lambda: {"chexbert": pinned})
    with pytest.raises(DataError, match="sha256"):
        fetch.fetch("chexbert")
    assert list(home.iterdir()) == []


def test_nothing_is_fetched_without_an_address() -> None:
    with pytest.raises(MissingError, match="no public download address"):
        fetch.fetch("r2gen-iu")
