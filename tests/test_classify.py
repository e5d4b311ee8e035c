"""Zero-shot labels: probabilities among them or each by itself, and what is refused."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import click
import numpy as np
import pytest
from conftest import RunCommand, make_picture
from fakes import COLOURS, ColourEncoder
from photographs import copy_photographs, photograph

import searchengine
from indexer.errors import EncoderMismatch, UsageError
from indexer.records import Skipped
from searchengine import open_library
from searchengine.commands.classify import classify as command
from searchengine.prompts import label_templates, unrelated_prompts
from searchengine.zeroshot import (
    Classified,
    Classifier,
    checked_labels,
    find_pictures,
    label_embeddings,
    read_labels_file,
)


def classified(classifier: Classifier, *paths: Path, top_k: int = 100) -> list[Classified]:
    outcomes = classifier.classify(
        [str(path) for path in paths], top_k=top_k, workers=2, max_megapixels=50
    )
    return [outcome for outcome in outcomes if isinstance(outcome, Classified)]


def test_the_likeliest_label_comes_first_and_probabilities_add_up_to_one(tmp_path: Path) -> None:
    classifier = Classifier(ColourEncoder(), tuple(COLOURS))
    for colour in COLOURS:
        path = make_picture(tmp_path / f"{colour}.png", colour)
        (picture,) = classified(classifier, path)
        assert picture.path == str(path)
        assert picture.labels[0].label == colour
        assert picture.labels[0].probability > 0.9
        assert sum(score.probability for score in picture.labels) == pytest.approx(1, abs=1e-4)


def test_the_probability_is_the_softmax_of_the_cosines_times_the_logit_scale() -> None:
    encoder = ColourEncoder()
    encoder.logit_scale = 2.0
    classifier = Classifier(encoder, ("red", "blue"))
    pictures = encoder.encode_texts(["red"])
    probabilities, cosines = classifier.scores(pictures)
    odds = np.exp(2 * cosines[0])
    assert probabilities[0] == pytest.approx(odds / odds.sum(), abs=1e-6)
    assert cosines[0, 0] == pytest.approx(1, abs=1e-6)
    assert cosines[0, 1] < 0.5


def test_a_label_is_the_mean_over_the_templates() -> None:
    class Spelling(ColourEncoder):
        def encode_texts(self, texts):  # type: ignore[no-untyped-def]
            rows = np.array([[len(text), 1.0] for text in texts], np.float32)
            return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    (embedding,) = label_embeddings(Spelling(), ["cat"])
    each = Spelling().encode_texts([t.replace("{}", "cat") for t in label_templates()])
    mean = each.mean(axis=0)
    assert embedding == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)
    assert all("{}" in template for template in label_templates())


def test_with_multi_several_labels_hold_or_none(tmp_path: Path) -> None:
    encoder = ColourEncoder()
    prompts = encoder.encode_texts(unrelated_prompts())
    classifier = Classifier(encoder, ("red", "yellow red", "cyan"), prompts=prompts)
    red, cyan = classified(
        classifier,
        make_picture(tmp_path / "red.png", "red"),
        make_picture(tmp_path / "cyan.png", "cyan"),
    )
    of_red = {score.label: score.probability for score in red.labels}
    assert of_red["red"] > 0.9 and of_red["yellow red"] > 0.9 and of_red["cyan"] < 0.1
    of_cyan = {score.label: score.probability for score in cyan.labels}
    assert of_cyan["cyan"] > 0.9 and of_cyan["red"] < 0.1


def test_a_thousand_labels_are_as_good_as_two(tmp_path: Path) -> None:
    labels = ["red", *(f"blue {number}" for number in range(999))]
    (picture,) = classified(
        Classifier(ColourEncoder(), labels), make_picture(tmp_path / "a.png", "red"), top_k=2
    )
    assert (len(picture.labels), picture.labels[0].label) == (2, "red")


def test_pictures_come_in_order_and_what_is_none_comes_with_its_reason(tmp_path: Path) -> None:
    paths = [make_picture(tmp_path / f"{number:03}.png", "red") for number in range(40)]
    paths[35].write_bytes(b"rubbish")
    told: list[tuple[int, int]] = []
    outcomes = list(
        Classifier(ColourEncoder(), ("red", "blue")).classify(
            [str(path) for path in paths],
            top_k=1,
            workers=2,
            max_megapixels=50,
            on_look=lambda done, total: told.append((done, total)),
        )
    )
    assert told == [(32, 40), (40, 40)]
    assert [outcome.path for outcome in outcomes] == [str(path) for path in paths]
    assert [outcome.reason for outcome in outcomes if isinstance(outcome, Skipped)] == [
        "not a picture"
    ]


def test_labels_are_cleaned_and_bad_ones_refused() -> None:
    assert checked_labels(["  a   cat ", "dog"]) == ("a cat", "dog")
    assert checked_labels(["cat"], multi=True) == ("cat",)
    for labels, message in (
        ([], "There are no labels"),
        (["", " "], "There are no labels"),
        (["cat", "", "dog"], "Label 2 of 3 is empty"),
        (["cat", "dog", "Cat"], "'Cat' is there twice"),
        (["cat"], "--multi"),
        ([str(number) for number in range(10_001)], "10,001 labels; 10,000 are the most"),
    ):
        with pytest.raises(UsageError, match=message):
            checked_labels(labels)


def test_a_labels_file_holds_one_a_line_and_comments(tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_bytes("\ufeff# animals\r\ncat\r\n\r\n  a dog, asleep \r\nchâteau\n".encode())
    assert read_labels_file(file) == ("cat", "a dog, asleep", "château")
    file.write_bytes("château".encode("latin-1"))
    with pytest.raises(UsageError, match=r"not UTF-8 \(byte 2\)"):
        read_labels_file(file)
    with pytest.raises(UsageError, match="There is no labels file"):
        read_labels_file(tmp_path / "other.txt")
    with pytest.raises(UsageError, match="cannot be read"):
        read_labels_file(tmp_path)


def test_folders_are_walked_by_the_rules_of_index_and_named_files_taken(tmp_path: Path) -> None:
    inside = [
        make_picture(tmp_path / "trip" / "a.png"),
        make_picture(tmp_path / "trip" / "sub" / "b.png"),
    ]
    make_picture(tmp_path / "trip" / ".hidden.png")
    make_picture(tmp_path / "trip" / "@eaDir" / "thumb.png")
    (tmp_path / "trip" / "notes.txt").touch()
    (tmp_path / "trip" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    odd = tmp_path / "picture.without"
    shutil.copy(inside[0], odd)
    found, skipped = find_pictures([tmp_path / "trip", odd, inside[0]], ("@eaDir/",))
    assert found == [*map(str, inside), str(odd)]
    assert [(os.path.basename(one.path), one.reason) for one in skipped] == [
        ("gone.png", "broken link")
    ]
    with pytest.raises(UsageError, match="no picture or folder"):
        find_pictures([tmp_path / "nowhere"])


def test_the_command_tells_what_photographs_show(run_command: RunCommand, tmp_path: Path) -> None:
    pictures = copy_photographs(tmp_path / "pictures", ("chelsea.png", "coffee.png"))
    (pictures / "broken.jpg").write_bytes(b"rubbish")
    labels = ("--labels", "cat, cup of coffee, rocket")
    done = run_command("classify", pictures, *labels, "--json")
    report = json.loads(done.stdout)
    best = {os.path.basename(p["path"]): p["labels"][0]["label"] for p in report["pictures"]}
    assert best == {"chelsea.png": "cat", "coffee.png": "cup of coffee"}
    assert [os.path.basename(one["path"]) for one in report["skipped_files"]] == ["broken.jpg"]
    assert report["encoder"].startswith("starter/")
    assert done.returncode == 0
    assert f"skipped {pictures / 'broken.jpg'}: not a picture" in done.stderr
    assert "1 of 3 skipped." in done.stderr
    strict = run_command(
        "classify", pictures, *labels, "--strict", "--top", "1", "--csv", "--multi"
    )
    assert strict.returncode == 1
    rows = list(csv.reader(strict.stdout.splitlines()))
    assert rows[0] == ["path", "label", "probability", "score"]
    assert {(os.path.basename(row[0]), row[1]) for row in rows[1:]} == {*best.items()}
    assert not (tmp_path / "library").exists()


def test_the_command_refuses_what_cannot_work(run_command: RunCommand, tmp_path: Path) -> None:
    done = run_command("classify", photograph("chelsea.png"), "--labels", "cat,")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Label 2 of 2 is empty" in done.stderr
    cat = str(photograph("chelsea.png"))
    for arguments, message in (
        ([cat], "Say what pictures may show"),
        ([cat, "--labels", "a,b", "--labels-file", "c"], "exclude each other"),
        ([cat, "--labels", "a,b", "--csv", "--json"], "exclude each other"),
        ([str(tmp_path / "no.png"), "--labels", "cat,dog"], "no picture or folder"),
    ):
        with pytest.raises((click.UsageError, UsageError), match=message):
            command.main(arguments, standalone_mode=False)


def test_a_folder_without_pictures_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([str(tmp_path), "--labels", "cat,dog"], standalone_mode=False) == 1
    assert capsys.readouterr() == ("", "There are no pictures.\n")


def test_labels_that_only_a_specialist_tells_apart_get_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(tmp_path), "--labels", "beagle,border collie", "--json"]
    assert command.main(arguments, standalone_mode=False) == 1
    out, err = capsys.readouterr()
    (warning,) = json.loads(out)["warnings"]
    assert warning["name"] == "fine-grained"
    assert warning["triggers"] == ["beagle", "border collie"]
    assert "Note: beagle, border collie: " in err and "classifier" in err


def test_an_encoder_that_the_library_does_not_hold_may_classify(tmp_path: Path) -> None:
    pictures = make_picture(tmp_path / "pictures" / "a.png").parent
    with open_library(tmp_path / "library", encoder="starter") as library:
        library.index(pictures)
    with open_library(tmp_path / "library", encoder="ViT-B-32-256") as library:
        assert library.classifying_encoder.key == "ViT-B-32-256/datacomp_s34b_b86k"
        with pytest.raises(EncoderMismatch):
            library.search("a cat")
    with open_library(tmp_path / "library") as library:
        assert library.classifying_encoder.key.startswith("starter/")


def test_classify_from_python(tmp_path: Path) -> None:
    outcomes = searchengine.classify(
        photograph("chelsea.png"),
        labels=["a dog", "a cat"],
        encoder="starter",
        cache_dir=tmp_path / "cache",
        library=tmp_path / "library",
    )
    (picture,) = outcomes
    assert isinstance(picture, Classified)
    assert picture.labels[0].label == "a cat"
