"""Images of folders, tables and data sets become a run; what is odd or broken is counted, named or refused."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features
from datasets import Image as ImageFeature
from PIL import Image
from tiny import IMAGE_FAMILIES, photo, write_csv, write_photos

import hf_kit
from hf_kit.cli import main
from hf_kit.data.digits import load_digits
from hf_kit.data.image_table import ImageColumns, read_table
from hf_kit.errors import UserError

TINY = (
    "--task=image_classification",
    "--model_type=resnet",
    f"--config_overrides={json.dumps(IMAGE_FAMILIES['resnet'])}",
    "--disable_tqdm=True",
    "--num_train_epochs=1",
    "--output_dir=run",
)
QUIET = (*TINY, "--baselines=False", "--test_split_percentage=0")


@pytest.fixture(autouse=True)
def here(tmp_path):
    write_photos(tmp_path / "photos")


def train(*flags: str) -> int:
    return main(["train", *QUIET, *flags])


def results(folder: str = "run") -> dict:
    return json.loads(Path(folder, "results.json").read_text())


def rows_of(split: str) -> int:
    return results()["data_checks"]["splits"][split]["rows"]


def test_a_run_has_scores_baselines_and_figures():
    assert main(["train", *TINY, "--train_file=photos", "--learning_rate=1e-9"]) == 0
    found = results()
    assert {"accuracy", "f1_macro"} <= set(found["test"])
    assert set(found["baselines"]) == {"majority", "pixels_logistic_regression"}
    assert found["figures"][:2] == ["figures/confusion_matrix.png", "figures/worst_errors.png"]
    assert all(Path("run", path).stat().st_size for path in found["figures"])
    assert found["details"]["columns"] == ["label", "precision", "recall", "f1", "rows"]
    assert found["data_checks"]["splits"]["train"]["skipped"] == 0


def test_splits_lie_side_by_side_as_folders():
    for name, seed in (("train", 0), ("val", 1), ("test", 2)):
        write_photos(Path("data") / name, 6, seed)
    assert train("--dataset_name=data") == 0
    assert (rows_of("train"), rows_of("validation"), rows_of("test")) == (12, 12, 12)


def test_a_table_names_files_beside_it():
    names = sorted(str(path) for path in Path("photos").rglob("*.png"))
    write_csv(Path("table.csv"), [(name, name.split("/")[1]) for name in names], ("file", "label"))
    assert train("--train_file=table.csv") == 0
    assert rows_of("train") + rows_of("validation") == 40
    lines = [json.dumps({"image": name, "label": name.split("/")[1]}) for name in names]
    Path("table.jsonl").write_text("\n".join(lines))
    assert train("--train_file=table.jsonl", "--output_dir=second") == 0
    # The same images and labels in the same order are the same data, wherever they are named.
    one, two = (json.loads(Path(name, "run.json").read_text())["fingerprint_of"] for name in ("run", "second"))
    assert one["train rows"] == two["train rows"]


@pytest.mark.parametrize("name", ["../outside.png", "/etc/hostname", "link.png"])
def test_a_table_may_not_name_files_outside_its_folder(name, capsys):
    Path("outside.png").write_bytes(Path("photos/lying/000.png").read_bytes())
    Path("inside").mkdir()
    Path("inside/link.png").symlink_to(Path("outside.png").resolve())
    write_csv(Path("inside/table.csv"), [(name, "a"), (name, "b")], ("image", "label"))
    assert train("--train_file=inside/table.csv") == 1
    error = capsys.readouterr().err
    assert f"`{name}` lies outside inside" in error and not Path("run").exists()


def parquet(path: str) -> None:
    names = sorted(Path("photos").rglob("*.png"))
    features = Features({"img": ImageFeature(), "fine_label": ClassLabel(names=["lying", "upright"])})
    rows = {
        "img": [{"bytes": name.read_bytes(), "path": name.name} for name in names],
        "fine_label": [name.parent.name for name in names],
    }
    Dataset.from_dict(rows, features=features).to_parquet(path)


def test_parquet_holds_the_images_themselves(capsys):
    parquet("rows.parquet")
    assert train("--train_file=rows.parquet") == 0
    assert json.loads(Path("run/run.json").read_text())["state"]["columns"] == {"image": "img", "label": "fine_label"}
    capsys.readouterr()
    assert main(["predict", "run", "--file", "rows.parquet", "--json"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(answers) == 40 and answers[0]["image"] == "000.png"


def test_parquet_that_names_a_file_elsewhere_is_refused(capsys):
    features = Features({"image": ImageFeature(decode=False), "label": ClassLabel(names=["a", "b"])})
    rows = {"image": [{"bytes": None, "path": "/etc/hostname"}] * 4, "label": [0, 1, 0, 1]}
    Dataset.from_dict(rows, features=features).to_parquet("rows.parquet")
    assert train("--train_file=rows.parquet") == 1
    assert "lies outside" in capsys.readouterr().err


def test_a_data_set_of_the_hub_may_not_name_files_of_this_machine(tmp_path):
    rows = Dataset.from_dict({"image": [{"bytes": None, "path": str(tmp_path / "photos/lying/000.png")}]})
    rows = rows.cast_column("image", ImageFeature(decode=False))
    with pytest.raises(UserError, match="is not opened"):
        read_table(rows, ImageColumns("image", None), None, "train", [])


def test_what_is_no_file_is_left_out_like_the_unreadable():
    os.mkfifo("photos/pipe.png")
    rows = Dataset.from_dict({"image": ["photos/pipe.png", "photos", "photos/lying/000.png"]})
    notes = []
    table, left_out = read_table(rows, ImageColumns("image", None), Path(), "train", notes)
    assert (len(table), left_out) == (1, 2) and "a folder, a pipe or a device" in notes[0]


def broken() -> dict[str, bytes]:
    whole = Path("photos/lying/000.png").read_bytes()
    return {"zero.png": b"", "cut.jpg": whole[:60], "text.png": b"hello, this is no image at all"}


def test_what_cannot_be_read_is_left_out_counted_and_named(capsys):
    for name, content in broken().items():
        Path("photos/lying", name).write_bytes(content)
    assert train("--train_file=photos") == 0
    said = capsys.readouterr().out
    assert "train: 3 of 43 images cannot be read and are left out" in " ".join(said.split())
    for name, why in (("zero.png", "zero bytes"), ("cut.jpg", "damaged"), ("text.png", "not an image")):
        assert f"lying/{name} ({why}" in said
    assert results()["data_checks"]["splits"]["train"]["skipped"] == 3
    assert rows_of("train") + rows_of("validation") == 40


def test_files_that_are_not_there_are_left_out_as_well(capsys):
    rows = [(str(path), path.parent.name) for path in sorted(Path("photos").rglob("*.png"))]
    write_csv(Path("table.csv"), [*rows, ("photos/gone.png", "lying")], ("image", "label"))
    assert train("--train_file=table.csv") == 0
    assert "photos/gone.png (no such file" in capsys.readouterr().out


def test_no_image_at_all_is_one_error(capsys):
    write_csv(Path("table.csv"), [("a.png", "x"), ("b.png", "y")], ("image", "label"))
    assert train("--train_file=table.csv") == 1
    assert "2 of 2 images cannot be read" in capsys.readouterr().err


def test_an_empty_class_folder_is_said_and_not_learned_and_files_of_other_kinds_are_counted(capsys):
    Path("photos/nothing").mkdir()
    for name in ("lying/1.heic", "lying/2.HEIC", "upright/about.txt"):
        Path("photos", name).write_bytes(b"x")
    assert train("--train_file=photos") == 0
    printed = capsys.readouterr().out
    assert "no images in the class folder nothing" in printed
    assert "3 (.heic 2, .txt 1) files are left out, by their names no images; convert those that are" in printed
    assert set(json.loads(Path("run/config.json").read_text())["label2id"]) == {"lying", "upright"}


def test_a_stray_kind_of_file_is_pointed_out(capsys):
    write_photos(Path("many"), 60)
    photo("lying", np.random.default_rng(9)).save("many/lying/strange.gif")
    assert train("--train_file=many") == 0
    assert "120 images are PNG and 1 GIF: lying/strange.gif" in " ".join(capsys.readouterr().out.split())


def test_twins_stay_together_and_leaks_are_found_by_content(capsys):
    write_photos(Path("data/train"))
    write_photos(Path("data/test"), 6, seed=1)
    for i in range(3):
        twin = Path(f"data/train/lying/00{i}.png").read_bytes()
        Path(f"data/test/lying/again{i}.png").write_bytes(twin)
    assert train("--dataset_name=data") == 0
    assert "the images of 3 of 15 test rows are also in train" in " ".join(capsys.readouterr().err.split())
    assert results()["clean"]["rows"]["test"] == 12
    assert train("--dataset_name=data", "--drop_leaks", "--output_dir=clean") == 0
    assert results("clean")["data_checks"]["splits"]["test"]["in_train"] == 0


def test_the_same_image_under_two_labels_is_a_warning(capsys):
    Path("photos/upright/same.png").write_bytes(Path("photos/lying/000.png").read_bytes())
    assert train("--train_file=photos", "--validation_split_percentage=0") == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "the same image has two labels in train" in said and "lying and upright" in said


def test_several_labels_and_numbers_are_learned_too():
    rows = [(str(path), path.parent.name) for path in sorted(Path("photos").rglob("*.png"))]
    several = [{"image": name, "labels": [label, "bar"] if i % 2 else []} for i, (name, label) in enumerate(rows)]
    Path("several.jsonl").write_text("\n".join(map(json.dumps, several)))
    assert train("--train_file=several.jsonl", "--mixup_alpha=0.5") == 0
    assert "f1_micro" in results()["validation"]
    numbers = [(name, 0.5 + i) for i, (name, _) in enumerate(rows)]
    write_csv(Path("numbers.csv"), numbers, ("image", "score"))
    assert train("--train_file=numbers.csv", "--output_dir=numbers", "--cutmix_alpha=1") == 0
    assert "mae" in results("numbers")["validation"]


def test_every_change_can_be_asked_for():
    flags = "--color_jitter=0.3 --randaugment_magnitude=5 --mixup_alpha=0.4 --cutmix_alpha=1 --class_weights=balanced"
    assert train("--train_file=photos", *flags.split()) == 0


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--crop_scale=0", "above 0 up to 1"),
        ("--color_jitter=2", "0 to 1"),
        ("--randaugment_magnitude=11", "to 10"),
        ("--mixup_alpha=-1", "must not be negative"),
        ("--image_size=0", "greater than 0"),
        ("--class_weights=balancd", "did you mean"),
        ("--streaming", "never held as a whole anyway"),
        ("--image_column=pic", "no such column"),
        ('--config_overrides={"num_channels": 1}', "num_channels is 1"),
    ],
)
def test_a_wrong_flag_is_one_error(flag, words, capsys):
    assert train("--train_file=photos", flag) == 1
    assert words in " ".join(capsys.readouterr().err.split())


def test_answers_for_files_folders_lines_and_images_in_memory(capsys, monkeypatch):
    assert train("--train_file=photos", "--num_train_epochs=2") == 0
    for name, content in broken().items():
        Path("photos/lying", name).write_bytes(content)
    capsys.readouterr()
    assert main(["predict", "run", "photos/lying/000.png", "photos"]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert len(lines) == 41 and lines[0].endswith("\tphotos/lying/000.png")
    assert "photos: 3 images cannot be read and have no answer: photos/lying/cut.jpg" in captured.err
    assert main(["predict", "run", "photos/lying/zero.png"]) == 1
    assert "photos/lying/zero.png: zero bytes" in capsys.readouterr().err
    assert main(["predict", "run", "no.png"]) == 1
    assert "no.png: no such file" in capsys.readouterr().err
    Path("list.txt").write_text("photos/lying/000.png\nphotos/upright/001.png\n")
    assert main(["predict", "run", "--file", "list.txt"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    run = hf_kit.load("run")
    one, two = run.predict(["photos/lying/000.png", Image.open("photos/lying/000.png")])
    assert one == two


def test_other_rows_are_scored_and_the_broken_ones_said(capsys):
    assert train("--train_file=photos") == 0
    write_photos(Path("more"), 4, seed=3)
    Path("more/lying/zero.png").write_bytes(b"")
    assert main(["evaluate", "run", "--test_file=more"]) == 0
    assert "1 of 9 images cannot be read" in " ".join(capsys.readouterr().out.split())


def test_the_sample_is_the_digits():
    digits = load_digits()
    assert len(digits) == 1797 and digits.features["label"].names == [str(i) for i in range(10)]
    image = digits[0]["image"]
    assert image.size == (8, 8) and image.getextrema() == (0, 239)


@pytest.mark.slow
def test_the_quickstart_learns_the_digits():
    assert main(["train", "image_classification/quickstart.yaml", "--disable_tqdm=True"]) == 0
    found = results("runs/digits")
    assert found["test"]["accuracy"] >= 0.97 > found["baselines"]["pixels_logistic_regression"]["test"]["accuracy"]
