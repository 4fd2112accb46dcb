import json
from pathlib import Path

import pytest
from datasets import Dataset

from hf_kit import run_folder
from hf_kit.errors import UserError


def test_rows_count_by_content_not_by_where_they_come_from(tmp_path):
    rows = {"text": ["a", "b", "c"], "labels": [0, 1, 0]}
    here = Dataset.from_dict(rows)
    here.to_json(tmp_path / "rows.jsonl")
    there = Dataset.from_json(str(tmp_path / "rows.jsonl"), cache_dir=str(tmp_path / "cache"))
    assert run_folder.hash_rows(here) == run_folder.hash_rows(there)
    assert run_folder.hash_rows(here.select([2, 1, 0]).select([2, 1, 0])) == run_folder.hash_rows(here)
    assert run_folder.hash_rows(here.select([1, 0, 2])) != run_folder.hash_rows(here)


def test_a_checkpoint_counts_by_its_files_contents(tmp_path):
    for name, content in (("one", "x"), ("two", "x"), ("three", "y")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(content)
    one, two, three = (run_folder.hash_folder(tmp_path / name) for name in ("one", "two", "three"))
    assert one == two != three


def test_a_folder_is_new_unfinished_finished_or_another_runs(tmp_path):
    folder, parts = tmp_path / "a/b", {"seed": 1}
    assert run_folder.open_run_folder(folder, parts) == "new"
    assert not (tmp_path / "a").exists()
    folder.mkdir(parents=True)
    run_folder.write_json(folder / "run.json", {"fingerprint_of": parts})
    assert run_folder.open_run_folder(folder, parts) == "unfinished"
    run_folder.write_json(folder / "results.json", {})
    assert run_folder.open_run_folder(folder, parts) == "finished"
    with pytest.raises(UserError, match="seed: 1 -> 2"):
        run_folder.open_run_folder(folder, {"seed": 2})


def test_damaged_facts_and_files_in_the_way_are_named(tmp_path):
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(UserError, match=r"run\.json is damaged"):
        run_folder.open_run_folder(tmp_path, {})
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        run_folder.open_run_folder(tmp_path / "file", {})
    with pytest.raises(UserError, match="file is a file"):
        run_folder.open_run_folder(tmp_path / "file" / "below", {})
    (tmp_path / "list").mkdir()
    (tmp_path / "list/run.json").write_text("[]")
    with pytest.raises(UserError, match="no JSON object"):
        run_folder.open_run_folder(tmp_path / "list", {})


def test_a_place_that_cannot_be_written_is_found_without_making_a_folder(tmp_path):
    with pytest.raises(UserError, match="cannot be written"):
        run_folder.check_run_folder(Path("/proc/hf_kit/run"))
    with pytest.raises(UserError, match=r"cannot be written \(File name too long"):
        run_folder.check_run_folder(tmp_path / ("a" * 300))
    run_folder.check_run_folder(tmp_path / "new/below")
    assert not list(tmp_path.iterdir())


def test_writing_leaves_the_old_file_or_the_new_one(tmp_path, monkeypatch):
    path = tmp_path / "results.json"
    run_folder.write_json(path, {"a": 1})

    def full(self, *args, **kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        run_folder.write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}


def test_a_write_that_fails_leaves_nothing_of_itself(tmp_path, monkeypatch):
    def cut(self, text, **kwargs):
        self.touch()
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_text", cut)
    with pytest.raises(OSError, match="No space"):
        run_folder.write_json(tmp_path / "run.json", {"a": 2})
    assert not list(tmp_path.iterdir())


def test_what_a_run_left_that_never_began_is_no_folder_of_others(tmp_path):
    for name in (".lock", "run.json.part"):
        (tmp_path / name).touch()
    assert run_folder.open_run_folder(tmp_path, {}) == "new"
    (tmp_path / "other.part").touch()
    with pytest.raises(UserError, match="other files"):
        run_folder.open_run_folder(tmp_path, {})
