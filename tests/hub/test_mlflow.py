"""The MLflow registry: a real server on sqlite, started once, with the real client."""

import sys

import pytest

from clintune.core.errors import ConfigError, PackageError
from clintune.hub.base import open_hub
from helpers.folders import contents
from helpers.made_up_packages import write_package
from helpers.mlflow_server import mlflow_server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as address_and_artifacts:
        yield address_and_artifacts


@pytest.fixture
def registry(server, monkeypatch):
    """Return the artifacts' folder; the client finds the server and gives up at once on failure."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server[0])
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return server[1]


@pytest.fixture
def package(tmp_path):
    return write_package(tmp_path / "package")


def test_each_send_is_a_version_and_comes_back_as_it_was(registry, package, tmp_path):
    from mlflow import MlflowClient

    new = write_package(tmp_path / "new", README_md=b"# Another card\n")
    assert open_hub("models:/triage", tag="champion").send(package) == "models:/triage/1"
    assert open_hub("models:/triage").send(new) == "models:/triage/2"
    expected = {"models:/triage": new, "models:/triage/1": package, "models:/triage/2": new}
    for address, folder in {**expected, "models:/triage@champion": package}.items():
        assert contents(open_hub(address).fetch(tmp_path / "cache")) == contents(folder)
    open_hub("models:/triage", tag="champion").send(new)
    assert contents(open_hub("models:/triage@champion").fetch(tmp_path / "cache")) == contents(new)
    run = MlflowClient().get_run(MlflowClient().get_model_version("triage", "1").run_id)
    assert run.info.status == "FINISHED"
    assert MlflowClient().get_experiment(run.info.experiment_id).name == "clintune"


def test_a_send_that_fails_registers_nothing(registry, package, tmp_path):
    from mlflow import MlflowClient

    registry.rename(tmp_path / "away")
    registry.write_text("no folder")
    try:
        with pytest.raises(PackageError, match=r"^models:/failed: MLflow refuses it"):
            open_hub("models:/failed").send(package)
    finally:
        registry.unlink()
        (tmp_path / "away").rename(registry)
    assert not MlflowClient().search_registered_models("name = 'failed'")
    assert open_hub("models:/failed").send(package) == "models:/failed/1"


def test_a_version_with_other_files_is_refused(registry, package, tmp_path):
    from mlflow import MlflowClient

    open_hub("models:/foreign").send(package)
    run = MlflowClient().get_run(MlflowClient().get_model_version("foreign", "1").run_id)
    sent = registry / run.info.experiment_id / run.info.run_id / "artifacts" / "package"

    def refused(message):
        with pytest.raises(PackageError, match=f"^models:/foreign: {message}"):
            open_hub("models:/foreign").fetch(tmp_path / "cache")
        assert not [path for path in tmp_path.glob("cache/packages/*") if path.is_dir()]

    (sent / "model.pkl").write_bytes(b"pickle")
    refused(r"model\.pkl is not listed in MANIFEST\.json")
    (sent / "model.pkl").unlink()
    (sent / "README.md").write_bytes(b"changed")
    refused(r"README\.md is missing or changed")
    (sent / "MANIFEST.json").unlink()
    refused(r"no MANIFEST\.json; clintune published no package there")


def test_each_refusal_is_one_line_with_a_remedy(registry, package, tmp_path, monkeypatch):
    open_hub("models:/there").send(package)
    for address, message in {
        "models:/none": "no such registered model; check the name and MLFLOW_TRACKING_URI",
        "models:/there/9": "no such model or version; check the address",
        "models:/there@nobody": "MLflow refuses it",
    }.items():
        with pytest.raises(PackageError, match=f"^{address}: {message}") as caught:
            open_hub(address).fetch(tmp_path / "cache")
        assert "\n" not in str(caught.value)
    for tag in ("v1", "latest", "a b"):
        with pytest.raises(ConfigError, match=f"MLflow takes no alias '{tag}'"):
            open_hub("models:/other", tag=tag).send(package)
    with pytest.raises(ConfigError, match="MLflow numbers versions; send to models:/there"):
        open_hub("models:/there/1").send(package)

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    with pytest.raises(
        PackageError, match=r"^models:/there: MLflow refuses it .* check name, alias and server"
    ):
        open_hub("models:/there").send(package)

    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with pytest.raises(
        ConfigError, match="MLFLOW_TRACKING_URI is not set; set it to the address of the server"
    ):
        open_hub("models:/there").send(package)


def test_without_mlflow_its_extra_is_named(package, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ConfigError, match=r"pip install 'clintune\[mlflow\]'"):
        open_hub("models:/m").send(package)
