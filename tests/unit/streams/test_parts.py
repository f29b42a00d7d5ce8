"""Parts that run elsewhere: what settings.toml may say, what clients get of it, and that no text shows a secret."""

from __future__ import annotations

import pickle
from pathlib import Path

import msgspec
import pytest

from features.store.redis_address import RedisAddress
from infra.stack import StackUsageError, refuse_edited, settings_for, with_parts
from infra.stack.elsewhere import copies
from models.policy.exploration import OFF, ExplorationTerms, Terms
from models.policy.review_terms import NO_TERMS, ReviewTerms
from streams.log.topics import Copies
from streams.runtime.kafka.connection import KafkaAddress, connection, faust_credentials
from streams.runtime.parts import PartError, Parts, read_settings_file
from streams.runtime.settings import Settings, acting_as, load_settings

WHOLE = """
[kafka]
bootstrap = "k1:9093,k2:9093"
security = "sasl_ssl"
username = "tollgate"
password_file = "secrets/kafka"
replication_factor = 3
min_in_sync_replicas = 2

[redis]
url = "rediss://r:6380"
username = "app"
password_env = "TEST_REDIS_PASSWORD"
ca_file = "/etc/ssl/company.pem"

[mlflow]
url = "https://mlflow.example"
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "settings.toml").write_text(WHOLE)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "kafka").write_text("kafka-secret\n")
    monkeypatch.setenv("TEST_REDIS_PASSWORD", "redis/secret")
    return tmp_path


def test_each_process_may_be_a_user_of_its_own(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = WHOLE.replace('"tollgate"', '"tg-{principal}"').replace("secrets/kafka", "secrets/{principal}")
    text = text.replace('"app"', '"{principal}"').replace("TEST_REDIS_PASSWORD", "TEST_REDIS_{principal}")
    (home / "settings.toml").write_text(text)
    (home / "secrets" / "labels").write_text("of-labels")
    monkeypatch.setenv("TEST_REDIS_labels", "redis-of-labels")
    settings = acting_as(with_parts(settings_for(home, 21000)), "labels")
    found = connection(settings.kafka)
    assert (found["sasl.username"], found["sasl.password"]) == ("tg-labels", "of-labels")
    redis = RedisAddress.of(settings.redis_address)
    assert (redis.user, redis.password) == ("labels", "redis-of-labels")
    with pytest.raises(PartError, match="TEST_REDIS_drift"):
        _ = acting_as(settings, "drift").redis_address


def test_clients_get_addresses_and_secrets(home: Path) -> None:
    settings = with_parts(settings_for(home, 21000))
    assert connection(settings.kafka) == {
        "bootstrap.servers": "k1:9093,k2:9093", "security.protocol": "sasl_ssl", "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "tollgate", "sasl.password": "kafka-secret",
    }  # fmt: skip
    redis = RedisAddress.of(settings.redis_address)
    assert redis == ("", "r", 6380, "app", "redis/secret", True, "/etc/ssl/company.pem", "", "")
    assert redis.greeting == [("AUTH", "app", "redis/secret")]
    assert settings.mlflow == "https://mlflow.example"
    assert copies(settings) == Copies(3, 2)


def test_what_is_kept_and_shown_holds_no_secret(home: Path) -> None:
    settings = with_parts(settings_for(home, 21000))
    kept = settings.save().read_text()
    for text in (kept, repr(settings), settings.kafka, settings.redis, settings.redis_shown):
        assert "secret\n" not in text and "kafka-secret" not in text and "redis/secret" not in text
    again = load_settings(home)
    assert again == settings
    assert connection(again.kafka) == connection(settings.kafka)
    # processes are given settings through pickle too
    assert connection(pickle.loads(pickle.dumps(settings.kafka))) == connection(settings.kafka)


def test_faust_gets_the_same(home: Path) -> None:
    plain = (home / "settings.toml").read_text().replace("sasl_ssl", "sasl_plaintext")
    (home / "settings.toml").write_text(plain)
    credentials = faust_credentials(with_parts(settings_for(home, 21000)).kafka)
    assert (credentials.username, credentials.password) == ("tollgate", "kafka-secret")
    assert (credentials.mechanism.value, credentials.protocol.value) == ("SCRAM-SHA-512", "SASL_PLAINTEXT")
    assert faust_credentials("127.0.0.1:1") is None


def test_the_number_of_reviews_reaches_the_settings(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text("[review]\nper_day = 300\ntenants = { shop-b = 40 }\n")
    assert with_parts(settings_for(tmp_path, 21000)).review == ReviewTerms(
        per_day=300, tenants={"shop-b": 40}
    )


def test_a_stack_without_the_file_runs_its_own_parts(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, 21000)
    assert with_parts(settings) == settings
    assert read_settings_file(tmp_path) == (Parts(), {}, OFF, NO_TERMS)
    assert connection(settings.kafka) == {"bootstrap.servers": "127.0.0.1:21000"}
    assert isinstance(settings.kafka, KafkaAddress)
    assert copies(settings) == Copies(1, 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[kafka]\nbootstrp = 'k:1'", "bootstrp"),
        ("[kafka]\nbootstrap = 'k:1'\nsecurity = 'tls'", "security"),
        ("[kafka]\nbootstrap = 'k:1'\nmin_in_sync_replicas = 4", "between 1 and replication_factor"),
        ("[kafka]\nbootstrap = 'k:1'\nsecurity = 'sasl_ssl'", "needs a username"),
        ("[kafka]\nbootstrap = 'k:1'\ncertificate_file = 'c'", "belong together"),
        ("[redis]\nurl = 'redis://:word@r:1'", "use username"),
        ("[redis]\nurl = 'redis://r:1'\npassword_env = 'A'\npassword_file = 'b'", "keep one"),
        ("[postgres]\nurl = 'x'", "postgres"),
        ("[kafka\n", "does not parse"),
        ("kafka = " + "[" * 4000, "does not parse"),
        ("[exploration]\nshare = 0.1", "cap_minor_per_day"),
        ("[review]\nper_day = 0", "per_day"),
        ("[review]\nwithin_minutes = 0", "within_minutes"),
    ],
)
def test_what_cannot_be_used_is_named_with_its_file(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(text)
    with pytest.raises(PartError, match=said) as refused:
        read_settings_file(tmp_path)
    assert str(path) in str(refused.value)


def test_exploration_comes_from_the_file_and_reaches_every_process(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text(
        "[exploration]\nshare = 0.02\ncap_minor_per_day = { EUR = 50000 }\n[exploration.tenants.shop-b]\nshare = 0.0\n"
    )
    settings = with_parts(settings_for(tmp_path, 21000))
    settings.save()
    found = load_settings(tmp_path).exploration
    assert (
        found
        == settings.exploration
        == ExplorationTerms(share=0.02, cap_minor_per_day={"EUR": 50000}, tenants={"shop-b": Terms()})
    )
    assert found.of("shop-a").share == 0.02 and not found.of("shop-b").share


def test_an_address_written_into_settings_json_is_not_replaced_in_silence(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, 21000)
    refuse_edited(settings)
    refuse_edited(msgspec.structs.replace(settings, redis="redis://:secret@127.0.0.1:21002"))
    refuse_edited(msgspec.structs.replace(settings, kafka="127.0.0.1:4711", embedded=True))
    for name, other in (("kafka", "k:9092"), ("redis", "redis://r:6379"), ("mlflow", "https://m")):
        with pytest.raises(StackUsageError, match=rf"has {name} at {other}.*settings.toml as `\[{name}\]`"):
            refuse_edited(msgspec.structs.replace(settings, **{name: other}))


def test_a_secret_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_VARIABLE", raising=False)
    for where, said in (("password_env = 'NO_SUCH_VARIABLE'", "NO_SUCH_VARIABLE"), ("password_file = 'absent'", "absent")):  # fmt: skip
        (tmp_path / "settings.toml").write_text(f"[redis]\nurl = 'redis://r:1'\n{where}")
        with pytest.raises(PartError, match=said):
            _ = with_parts(Settings(home=str(tmp_path))).redis_address
