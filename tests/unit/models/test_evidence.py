"""Evidence packs: what an approval may rest on, and what is refused: changed, of another version, expired, outdated, failed."""

from __future__ import annotations

import dataclasses
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from models.bundle.content import Bundle, load_bundle
from models.evidence.files import evidence_path, page_path
from models.evidence.pack import EvidenceRefused, check_pack, made_pack, read_pack, write_pack
from models.evidence.record import EvidencePack
from models.training.gates.judge import Judgement, judge
from models.training.gates.side import Contender
from tests.support.bundle_samples import publish_sample, trained
from tests.support.models_data import make_dataset

NOW = datetime(2026, 1, 2, tzinfo=UTC)
#: a country, as a transaction may name it
EVIL = "<script>alert(1)</script>"


def judged(change: float = 0.0) -> Judgement:
    """The sample model against itself, on rows of which half come from a country with an evil name."""
    data = make_dataset(6_000, seed=8)
    fields = pa.table(
        {"country": np.where(np.arange(len(data)) % 2, EVIL, "FR"), "currency": np.where(np.arange(len(data)) % 3, "EUR", "JPY")}
    )  # fmt: skip
    live = Contender("1.0.0", trained().score, trained().policy, auc_roc=0.9)
    noise = np.random.default_rng(2).normal(0, change, len(data)).astype(np.float32)
    other = dataclasses.replace(
        live, version="1.1.0", score=lambda matrix: trained().score(matrix) + noise[: len(matrix)] if change else trained().score(matrix)
    )  # fmt: skip
    return judge(other, live, dataclasses.replace(data, fields=fields), now=NOW)


@pytest.fixture(scope="module")
def good() -> Judgement:
    return judged()


class Home:
    """A folder with two published bundles."""

    def __init__(self, path: Path) -> None:
        self.path, self.bundles, self.keys = path, path / "bundles", path / "keys"
        for version in ("1.0.0", "1.1.0"):
            publish_sample(path, version)
        self.live, self.new = self.bundle("1.0.0"), self.bundle("1.1.0")

    def bundle(self, version: str) -> Bundle:
        return load_bundle(self.bundles / "fraud" / version, self.keys / "trusted")

    def write(self, judgement: Judgement | None, **more: object) -> str:
        pack = made_pack(self.new, self.live, judgement, now=NOW)
        return write_pack(self.bundles, self.keys, msgspec.structs.replace(pack, **more))

    def check(self, named: str | None, *, now: datetime = NOW, live: Bundle | None = None) -> EvidencePack:
        return check_pack(
            self.bundles, self.keys / "trusted", self.new, named, live=live or self.live, now=now
        )

    def refused(self, named: str | None, **more: object) -> str:
        with pytest.raises(EvidenceRefused) as found:
            self.check(named, **more)  # type: ignore[arg-type]
        return found.value.reason


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_an_approval_may_rest_on_a_good_pack_that_it_names(home: Home, good: Judgement) -> None:
    digest = home.write(good)
    pack = home.check(digest)
    assert pack.judgement is not None and pack.judgement.verdict == "pass" and pack.live == "1.0.0"
    assert pack.judgement == good, "nothing is lost on the way through the file"


def test_a_changed_page_or_file_is_refused(home: Home, good: Judgement) -> None:
    digest = home.write(good)
    page = page_path(home.bundles, "fraud", "1.1.0")
    before = page.read_bytes()
    page.write_bytes(before.replace(b"passed", b"PASSED"))
    assert home.refused(digest) == "changed"
    page.write_bytes(before)
    raw = evidence_path(home.bundles, "fraud", "1.1.0")
    raw.write_bytes(raw.read_bytes().replace(b'"rows"', b'"rowz"', 1))
    assert home.refused(digest) == "changed"
    raw.unlink()
    assert home.refused(digest) == "missing"


def test_a_pack_signed_by_nobody_known_is_refused(home: Home, good: Judgement, tmp_path: Path) -> None:
    publish_sample(tmp_path / "other", "1.1.0")
    pack = made_pack(home.new, home.live, good, now=NOW)
    digest = write_pack(home.bundles, tmp_path / "other" / "keys", pack)
    assert home.refused(digest) == "changed"


def test_a_pack_of_another_version_or_an_older_one_does_not_count(home: Home, good: Judgement) -> None:
    older = home.write(good, created_at=NOW - timedelta(days=1))
    digest = home.write(good)
    assert home.refused(older) == "other" and home.refused(None) == "other"
    # all of the live version's files under the new one's name
    for name in ("evidence.json", "evidence.html", "evidence.sig"):
        source = evidence_path(home.bundles, "fraud", "1.0.0", name)
        evidence_path(home.bundles, "fraud", "1.1.0", name).write_bytes(source.read_bytes())
    assert home.refused(digest) == "changed"
    replayed = write_pack(
        home.bundles, home.keys, msgspec.structs.replace(made_pack(home.live, None, good, now=NOW), version="1.1.0")
    )  # fmt: skip
    assert home.refused(replayed) == "other"


def test_a_pack_expires_at_the_time_that_it_states(home: Home, good: Judgement) -> None:
    digest = home.write(good)
    home.check(digest, now=NOW + timedelta(days=7) - timedelta(seconds=1))
    assert home.refused(digest, now=NOW + timedelta(days=7)) == "expired"


def test_a_pack_is_outdated_when_code_or_the_live_model_changed(home: Home, good: Judgement) -> None:
    assert home.refused(home.write(good, software="0.0.1")) == "outdated"
    assert home.refused(home.write(good, catalogue="00" * 8)) == "outdated"
    digest = home.write(good)
    another = dataclasses.replace(home.live, model_ubj=home.live.model_ubj + b" ", version="1.0.5")
    assert home.refused(digest, live=another) == "outdated"
    # another policy with the same model is not another model
    home.check(digest, live=dataclasses.replace(home.live, version="1.0.6"))


def test_nobody_may_approve_what_failed(home: Home) -> None:
    worse = judged(0.6)
    assert worse.verdict == "fail"
    assert home.refused(home.write(worse)) == "failed"


class _Page(HTMLParser):
    """The tags of a page and what they load."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [str(value) for name, value in attrs if name in ("src", "href", "xlink:href", "action")]


def test_the_page_needs_nothing_from_elsewhere_and_runs_nothing(home: Home, good: Judgement) -> None:
    digest = home.write(good)
    text = page_path(home.bundles, "fraud", "1.1.0").read_text()
    page = _Page()
    page.feed(text)
    assert page.loads == [] and not {"script", "link", "iframe", "img", "object"} & set(page.tags)
    assert not re.search(r"url\(|@import|https?:", text)
    assert page.tags.count("svg") >= 4 and digest in text and "1.1.0" in text
    assert EVIL not in text and "&lt;script&gt;" in text
    for check in good.checks:
        assert check.name.replace("_", " ").replace(".", " · ") in text


def test_a_new_policy_with_the_live_model_has_its_test_on_the_past(home: Home) -> None:
    tested = {
        "changed": {"approve to review": 3},
        "before": {"decisions": {"approve": 9}},
        "after": {"decisions": {"approve": 6}},
    }
    pack = made_pack(
        home.new, home.live, None, now=NOW, tested=tested, changes=["rule abroad of ann (missing)"]
    )
    digest = write_pack(home.bundles, home.keys, pack)
    assert home.check(digest).judgement is None
    text = page_path(home.bundles, "fraud", "1.1.0").read_text()
    assert "3 approve to review" in text and "rule abroad of ann (missing)" in text
    assert read_pack(home.bundles, home.keys / "trusted", "fraud", "1.1.0")[1] == digest
