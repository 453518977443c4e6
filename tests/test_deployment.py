"""What deploys feedwatch, compose files and Kubernetes manifests, fits the image and the config."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from psycopg.conninfo import make_conninfo

from feedwatch.config.errors import ConfigError
from feedwatch.config.key_names import CONTAINER_SECRETS, KEY_KEY, SECRET_NAME, SYSTEM_FILE
from feedwatch.config.keys import TOP_KEYS, Settings
from feedwatch.config.load import load
from feedwatch.store.database import connect
from feedwatch.web.app import MONITORING_PATHS
from tests.support import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
USER = re.search(r"^USER (\d+):\1$", DOCKERFILE, re.MULTILINE)
STATE, JOURNAL = "/var/lib/feedwatch", "/var/cache/feedwatch"  # the image's volumes
COMPOSE, CLUSTER = ROOT / "compose.yaml", ROOT / "compose.cluster.yaml"
MANIFESTS = ROOT / "contrib" / "kubernetes"
GRACE = 15  # seconds that a stop may take, as systemd/feedwatch.service has it
OF_LIBPQ = {"PGPASSWORD"}


def documents(path: Path) -> list[Any]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def seconds(text: str) -> int:
    return int(text.removesuffix("s").removesuffix("m")) * (60 if text.endswith("m") else 1)


DATABASE_URL = re.compile(r"(?:sqlite|postgresql\+psycopg)://\S+")
WITH_DATABASE = [COMPOSE, CLUSTER, *sorted(MANIFESTS.rglob("database.yaml"))]
DATABASE_URLS = [url for path in WITH_DATABASE for url in DATABASE_URL.findall(path.read_text())]


@pytest.mark.parametrize("url", DATABASE_URLS)
def test_a_database_url_is_one_that_the_driver_takes_and_has_no_password(url: str) -> None:
    engine = connect(url)
    arguments, options = engine.dialect.create_connect_args(engine.url)
    assert engine.url.password is None
    if engine.dialect.name == "postgresql":
        options.pop("context", None)  # psycopg's own, and no word to libpq
        assert make_conninfo(*arguments, **options)


# compose


def daemons(path: Path) -> dict[str, Any]:
    (whole,) = documents(path)
    return {name: one for name, one in whole["services"].items() if one["image"] == "feedwatch"}


@pytest.mark.parametrize("path", [COMPOSE, CLUSTER], ids=lambda path: str(path.name))
def test_a_compose_file_fits_the_image_and_lets_it_write_nowhere_else(path: Path) -> None:
    assert USER is not None
    assert f"sudo chown {USER[1]} config.env feedwatch_api_key.txt" in path.read_text("utf-8")
    check = re.search(r"^HEALTHCHECK (.*) CMD (.*)$", DOCKERFILE, re.MULTILINE)
    assert check is not None
    given = dict(re.findall(r"--([a-z-]+)=(\S+)", check[1]))
    for service in daemons(path).values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert seconds(service["stop_grace_period"]) == GRACE
        health = {name.replace("_", "-"): str(it) for name, it in service["healthcheck"].items()}
        assert health.pop("test") == str(yaml.safe_load(check[2])).replace("[", "['CMD', ")
        assert health == given
        targets = [volume.split(":")[1] for volume in service["volumes"]]
        assert targets[0] == str(SYSTEM_FILE)
        assert JOURNAL in targets
        assert SECRET_NAME in service["secrets"]


def in_megabytes(limit: str) -> int:
    return int(limit[:-1]) * {"m": 1, "g": 1024}[limit[-1]]


@pytest.mark.parametrize("path", [COMPOSE, CLUSTER], ids=lambda path: str(path.name))
def test_no_service_takes_the_whole_machine_or_fills_its_disk(path: Path) -> None:
    (whole,) = documents(path)
    for service in whole["services"].values():
        # docs/performance.md: 132 MB at 10,000 feeds, and the parser's process beside it.
        assert 256 <= in_megabytes(service["mem_limit"]) <= 1024
        assert service["cpus"] <= 2
        assert service["pids_limit"] <= 200
        log = service["logging"]
        assert log["driver"] == "json-file"
        assert in_megabytes(log["options"]["max-size"]) * int(log["options"]["max-file"]) <= 100


def test_the_daemons_of_a_cluster_differ_in_name_and_journal_alone() -> None:
    (whole,) = documents(CLUSTER)
    first, second = daemons(CLUSTER).values()
    assert first["hostname"] != second["hostname"]
    journals = {one for daemon in (first, second) for one in daemon["volumes"] if JOURNAL in one}
    assert {one.split(":")[0] for one in journals} == {"claims-a", "claims-b"}
    own = {"hostname", "volumes", "build"}
    assert {k: v for k, v in first.items() if k not in own} == {
        k: v for k, v in second.items() if k not in own
    }
    database = whole["services"]["db"]
    assert {"claims-a", "claims-b", database["volumes"][0].split(":")[0]} == set(whole["volumes"])
    assert "POSTGRES_PASSWORD" not in database["environment"], "it comes in a file"
    used = {secret for one in whole["services"].values() for secret in one["secrets"]}
    assert used == set(whole["secrets"])
    for service in whole["services"].values():
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]
        assert "ports" not in service, "nothing of it is reached from outside unless somebody asks"


# Kubernetes


def manifest(name: str) -> Any:
    (whole,) = documents(MANIFESTS / name)
    return whole


def pod() -> Any:
    return manifest("base/statefulset.yaml")["spec"]["template"]["spec"]


def added(overlay: str) -> list[Any]:
    """What an overlay adds to the container's environment."""
    patch = manifest(f"{overlay}/database.yaml")
    return [one["value"] for one in patch if one["path"].endswith("/env/-")]


def settings_of(overlay: str, key: str) -> Settings:
    """The settings of a pod: the config map's file, the environment, and an API key."""
    env = [*pod()["containers"][0]["env"], *added(overlay)]
    plain = {one["name"]: one["value"] for one in env if "value" in one}
    assert {one["name"] for one in env} <= set(TOP_KEYS) | OF_LIBPQ
    return load(MANIFESTS / "base" / "config.env", {**plain, KEY_KEY: key}, to_watch=True)


def test_every_manifest_is_yaml_with_a_name_and_each_is_used() -> None:
    for folder in ("base", "sqlite", "postgresql"):
        kustomization = manifest(f"{folder}/kustomization.yaml")
        named = [one for one in kustomization["resources"] if one.endswith(".yaml")]
        named += [one["path"] for one in kustomization.get("patches", [])]
        assert {*named, "kustomization.yaml"} == {
            path.name for path in (MANIFESTS / folder).glob("*.yaml")
        }
        for name in kustomization["resources"]:
            assert name == "../base" or manifest(f"{folder}/{name}")["metadata"]["name"]


@pytest.mark.parametrize("overlay", ["sqlite", "postgresql"])
def test_the_config_of_a_pod_is_taken_once_there_is_a_key(overlay: str) -> None:
    settings = settings_of(overlay, "a-real-key")
    assert settings.listen is not None
    (port,) = pod()["containers"][0]["ports"]
    assert (settings.listen.host, settings.listen.port) == ("", port["containerPort"])
    (service,) = manifest("base/service.yaml")["spec"]["ports"]
    assert (service["port"], service["targetPort"]) == (settings.listen.port, port["name"])


def test_the_placeholder_of_the_secret_is_refused() -> None:
    data = manifest("base/secret.yaml")["stringData"]
    assert set(data) == {SECRET_NAME}
    with pytest.raises(ConfigError, match="placeholder"):
        settings_of("sqlite", data[SECRET_NAME])


def test_a_pod_fits_the_image_and_may_write_nowhere_else() -> None:
    assert USER is not None
    spec, (container,) = pod(), pod()["containers"]
    security = spec["securityContext"]
    assert security["runAsNonRoot"] is True
    assert {security[name] for name in ("runAsUser", "runAsGroup", "fsGroup")} == {int(USER[1])}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    mounts = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
    assert mounts == {
        "config": str(SYSTEM_FILE.parent),
        "secrets": str(CONTAINER_SECRETS),
        "claims": JOURNAL,
        "tmp": "/tmp",
    }
    (claims,) = manifest("base/statefulset.yaml")["spec"]["volumeClaimTemplates"]
    volumes = [one["name"] for one in spec["volumes"]]
    assert set(mounts) == {*volumes, claims["metadata"]["name"]}
    data = [one["value"] for one in manifest("sqlite/database.yaml") if "Mounts" in one["path"]]
    assert [one["mountPath"] for one in data] == [STATE]
    assert spec["terminationGracePeriodSeconds"] >= GRACE
    paths = {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}
    for probe, path in paths.items():
        asked = container[f"{probe}Probe"]["httpGet"]
        assert asked == {"path": path, "port": "http"}
        assert path in MONITORING_PATHS


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize(("overlay", "replicas"), [("sqlite", 1), ("postgresql", 2)])
def test_kustomize_makes_one_set_of_daemons_with_a_journal_each(
    overlay: str, replicas: int
) -> None:
    built = subprocess.run(
        ["kubectl", "kustomize", MANIFESTS / overlay], capture_output=True, text=True, check=True
    )
    (daemons,) = (one for one in yaml.safe_load_all(built.stdout) if one["kind"] == "StatefulSet")
    spec = daemons["spec"]
    assert spec["replicas"] == replicas
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
    volumes = [one["metadata"]["name"] for one in spec["volumeClaimTemplates"]]
    assert volumes == ["claims"] + ["data"] * (overlay == "sqlite")
