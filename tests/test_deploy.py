"""Dockerfile, Compose, Kubernetes and monitoring files fit their schemas and the service."""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from app.main import create_app
from app.metrics import STAGES, Metrics
from app.record import ClassifiedPhoto, RequestRecord
from app.server.cli import GRACEFUL_SHUTDOWN_SECONDS
from app.settings import PREFIX, Settings
from deploy.engines import TAG, Docker
from deploy.image_test import BUILD_FILES
from ml import __version__
from ml.predictor import Predictor
from tests.helpers import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
MANIFESTS = sorted((ROOT / "deploy" / "kubernetes").glob("*.yaml"))
MONITORING = ROOT / "deploy" / "monitoring"


def manifest(name: str) -> Any:
    return yaml.safe_load((ROOT / "deploy" / "kubernetes" / name).read_text(encoding="utf-8"))


def pod() -> Any:
    return manifest("deployment.yaml")["spec"]["template"]["spec"]


def test_hadolint_finds_no_problems() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    found = subprocess.run([hadolint, "Dockerfile"], cwd=ROOT, capture_output=True, text=True)
    assert (found.stdout, found.returncode) == ("", 0)


def test_dockerfile_has_three_targets_and_serve_is_the_default() -> None:
    stages = re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE)
    assert {"serve", "lambda", "train"} < set(stages)
    assert stages[-1] == "serve"
    assert re.search(r"^ARG BASE=python:\S+@sha256:[0-9a-f]{64}$", DOCKERFILE, re.MULTILINE)


def test_versions_agree() -> None:
    labels = re.findall(r'image\.version="(.*?)"', DOCKERFILE)
    tags = [image["newTag"] for image in manifest("kustomization.yaml")["images"]]
    compose = COMPOSE["services"]["skyspotter"]["image"].partition(":")[2]
    assert {*labels, *tags, compose} == {__version__}


def test_stop_timeouts_exceed_the_graceful_shutdown() -> None:
    assert (
        int(COMPOSE["services"]["skyspotter"]["stop_grace_period"].rstrip("s"))
        > GRACEFUL_SHUTDOWN_SECONDS
    )
    (container,) = pod()["containers"]
    command, pause = container["lifecycle"]["preStop"]["exec"]["command"]
    assert command == "sleep"
    assert pod()["terminationGracePeriodSeconds"] > GRACEFUL_SHUTDOWN_SECONDS + int(pause)


def test_compose_fits_the_schema() -> None:
    vendored = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    jsonschema.validate(COMPOSE, json.loads(vendored.read_text(encoding="utf-8")))


def test_compose_mounts_existing_files_and_sets_known_settings() -> None:
    for name, service in COMPOSE["services"].items():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or (ROOT / source).is_file(), name
    set_there = COMPOSE["services"]["skyspotter"]["environment"]
    assert {f"{PREFIX}{field.upper()}" for field in Settings.model_fields} >= set(set_there)


@pytest.mark.parametrize(
    "path", [p for p in MANIFESTS if p.name != "kustomization.yaml"], ids=lambda path: path.stem
)
def test_manifest_fits_the_schema(path: Path) -> None:
    version = kubernetes_validate.latest_version()
    kubernetes_validate.validate(manifest(path.name), version, strict=True)


def test_kustomization_lists_all_manifests_and_their_image() -> None:
    """There is no schema of it here, so the keys are listed."""
    given = manifest("kustomization.yaml")
    assert given.keys() == {"apiVersion", "kind", "resources", "images"}
    of = (given["apiVersion"], given["kind"])
    assert of == ("kustomize.config.k8s.io/v1beta1", "Kustomization")
    assert set(given["resources"]) == {path.name for path in MANIFESTS} - {"kustomization.yaml"}
    (image,) = given["images"]
    assert image.keys() <= {"name", "newName", "newTag", "digest"}
    (container,) = pod()["containers"]
    assert container["image"] == image["name"]


def test_threads_follow_cpus() -> None:
    (container,) = pod()["containers"]
    (threads,) = (each for each in container["env"] if each["name"] == f"{PREFIX}THREADS")
    assert threads["valueFrom"] == {"resourceFieldRef": {"resource": "limits.cpu"}}
    cpus = container["resources"]["limits"]["cpu"]
    assert float(cpus).is_integer()  # Kubernetes rounds a fraction up for the environment variable
    service = COMPOSE["services"]["skyspotter"]
    assert service["environment"][f"{PREFIX}THREADS"] == service["cpus"]


def test_autoscaler_uses_a_metric_of_the_service() -> None:
    autoscaler = manifest("autoscaler.yaml")["spec"]
    (name,) = (m["pods"]["metric"]["name"] for m in autoscaler["metrics"] if m["type"] == "Pods")
    families = text_string_to_metric_families(Metrics().text().decode())
    assert name in {family.name for family in families}
    (wanted,) = (m["pods"]["target"] for m in autoscaler["metrics"] if m["type"] == "Pods")
    (container,) = pod()["containers"]
    assert int(wanted["averageValue"]) == 2 * int(container["resources"]["limits"]["cpu"])
    assert autoscaler["scaleTargetRef"]["name"] == manifest("deployment.yaml")["metadata"]["name"]


def test_the_health_check_is_defined_in_the_image() -> None:
    """Compose inherits it, and it requests a route that exists."""
    assert "healthcheck" not in COMPOSE["services"]["skyspotter"]
    check = DOCKERFILE[DOCKERFILE.index("HEALTHCHECK") :]
    (path,) = re.findall(r"http://127\.0\.0\.1:{.*?}(/\w+)", check)
    assert path in create_app().openapi()["paths"]
    (port,) = re.findall(r"^ENV PORT=(\d+)$", DOCKERFILE, re.MULTILINE)
    assert COMPOSE["services"]["skyspotter"]["ports"] == [f"{port}:{port}"]


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
def test_kustomize_builds_the_base() -> None:
    command = ["kubectl", "kustomize", "deploy/kubernetes"]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    kinds = {document["kind"] for document in yaml.safe_load_all(built)}
    assert {"Deployment", "Service", "HorizontalPodAutoscaler", "NetworkPolicy"} < kinds
    assert f"image: skyspotter:{__version__}\n" in built


def test_pod_uses_existing_routes_settings_and_user() -> None:
    (container,) = pod()["containers"]
    routes = create_app().openapi()["paths"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["path"] in routes
    names = {variable["name"] for variable in container["env"]}
    assert {f"{PREFIX}{field.upper()}" for field in Settings.model_fields} >= names
    user = pod()["securityContext"]
    assert f"\nUSER {user['runAsUser']}:{user['runAsGroup']}\n" in DOCKERFILE


def test_dashboard_uses_metrics_and_labels_of_the_service(shipped: Predictor, photo: bytes) -> None:
    metrics = Metrics()
    record = RequestRecord(route="/predict", status=200, read_seconds=0.1)
    record.classified.append(ClassifiedPhoto(shipped.predict(photo), shipped.card, 0.1, None))
    metrics.observe_request(record)
    metrics.set_model("a", "b", "c", "d")
    samples: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        for sample in family.samples:
            samples.setdefault(sample.name, set()).update(sample.labels)
    dashboard = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))
    targets = [target for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(targets) > len(STAGES)
    for target in targets:
        used = set(re.findall(r"skyspotter_\w+", target["expr"]))
        assert used
        assert used <= set(samples), target["expr"]
        labels = set(re.findall(r"(\w+)=~?\"", target["expr"]))
        labels |= set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        for group in re.findall(r"by \((.*?)\)", target["expr"]):
            labels |= set(group.split(", "))
        for name in used:
            assert labels <= samples[name], target["expr"]


def mounted(service: str) -> dict[str, str]:
    """The mounted files of a container: path in the container to path in the repository."""
    pairs = (volume.split(":")[:2] for volume in COMPOSE["services"][service]["volumes"])
    return {there: here for here, there in pairs}


def test_prometheus_scrapes_the_service() -> None:
    given = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    assert given.keys() == {"global", "scrape_configs"}
    (job,) = given["scrape_configs"]
    (port,) = re.findall(r"^EXPOSE (\d+)$", DOCKERFILE, re.MULTILINE)
    assert job == {
        "job_name": "skyspotter",
        "static_configs": [{"targets": [f"skyspotter:{port}"]}],
    }
    assert "/metrics" in create_app().openapi()["paths"]  # the default path of Prometheus
    assert "/etc/prometheus/prometheus.yml" in mounted("prometheus")


def test_grafana_loads_the_data_source_and_the_dashboard() -> None:
    files = mounted("grafana")
    provisioned = "/etc/grafana/provisioning"
    given = yaml.safe_load((ROOT / files[f"{provisioned}/datasources/skyspotter.yml"]).read_text())
    (source,) = given["datasources"]
    dashboard = (MONITORING / "dashboard.json").read_text(encoding="utf-8")
    assert set(re.findall(r'"uid": "(.*?)"', dashboard)) == {source["uid"], "skyspotter"}
    assert (given["apiVersion"], source["type"]) == (1, "prometheus")
    assert source["url"] == "http://prometheus:9090"
    assert "127.0.0.1:9090:9090" in COMPOSE["services"]["prometheus"]["ports"]
    given = yaml.safe_load((ROOT / files[f"{provisioned}/dashboards/skyspotter.yml"]).read_text())
    (provider,) = given["providers"]
    assert (given["apiVersion"], provider["type"]) == (1, "file")
    shown = COMPOSE["services"]["grafana"]["environment"]
    home = Path(shown["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert str(home.parent) == provider["options"]["path"]
    assert ROOT / files[str(home)] == MONITORING / "dashboard.json"


def test_closing_docker_removes_the_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killing `docker run` does not stop its container."""
    docker, log = tmp_path / "docker", tmp_path / "log"
    docker.write_text(f'#!/bin/sh\necho "$@" >> {log}\n')
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    Docker().close()
    assert log.read_text() == f"rm --force {TAG}\n"


@pytest.mark.parametrize(
    ("path", "left"),
    [
        ("/opt/lambda/pip", True),
        ("/usr/bin/x86_64-linux-gnu-gcc-12", True),
        ("/root/.cache/pip/a", True),
        ("/var/lib/apt/lists/deb.debian.org_debian", True),
        ("/usr/include/stdio.h", True),
        ("/usr/bin/c++", True),
        ("/usr/bin/make", True),
        ("/usr/bin/python3", False),
        ("/usr/share/gcc", False),  # a debugger's files for the C++ library
        ("/opt/skyspotter/bin/uvicorn", False),
    ],
)
def test_files_that_only_a_build_needs_are_recognised(path: str, left: bool) -> None:
    assert bool(BUILD_FILES.search(path)) == left
