"""The MLflow model registry: a package is the artifact folder of a version of a model."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from clintune.core.errors import ConfigError, PackageError
from clintune.package.manifest import MANIFEST, fetch_whole, local_manifest

_ARTIFACTS = "package"
_EXPERIMENT = "clintune"
_ALIAS = re.compile(r"(?!(latest|v\d+)$)[\w-]+", re.ASCII | re.IGNORECASE)


class MLflowHub:
    """A hub in the registered model `name`.

    It fetches `version`, the version of `alias`, or else the newest version. `tag` becomes the
    alias of the version that is sent; in MLflow an alias can move. The server is that of
    MLFLOW_TRACKING_URI, with the credentials that MLflow finds.
    """

    def __init__(
        self,
        name: str,
        *,
        version: str | None = None,
        alias: str | None = None,
        tag: str | None = None,
    ) -> None:
        self.name = name
        self.version = version
        self.alias = alias
        self.tag = tag
        which = f"/{version}" if version else f"@{alias}" if alias else ""
        self.where = f"models:/{name}{which}"

    def send(self, folder: Path) -> str:
        """Send the package to a run of its own, then register it as a new version."""
        if self.version or self.alias:
            raise ConfigError(
                f"hub {self.where}: MLflow numbers versions; send to models:/{self.name}, "
                "the alias as tag="
            )
        if self.tag and not _ALIAS.fullmatch(self.tag):
            raise ConfigError(
                f"hub {self.where}: MLflow takes no alias '{self.tag}'; use letters, digits, '-' "
                "and '_', but neither latest nor v1, v2, ..."
            )
        local_manifest(folder)

        with self._client() as client:
            # Send the files as artifacts of a new run.
            experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", _EXPERIMENT)
            found = client.get_experiment_by_name(experiment)
            experiment_id = found.experiment_id if found else client.create_experiment(experiment)
            run = client.create_run(experiment_id, run_name=self.name).info
            try:
                client.log_artifacts(run.run_id, str(folder), _ARTIFACTS)
            except BaseException:
                client.update_run(run.run_id, status="FAILED")
                raise
            client.update_run(run.run_id, status="FINISHED")

            # Register them as a version.
            if not client.search_registered_models(f"name = '{self.name}'"):
                client.create_registered_model(self.name)
            artifacts = f"{run.artifact_uri}/{_ARTIFACTS}"
            version = client.create_model_version(self.name, artifacts, run.run_id).version
            if self.tag:
                client.set_registered_model_alias(self.name, self.tag, version)
        return f"models:/{self.name}/{version}"

    def fetch(self, cache: Path) -> Path:
        """Fetch the artifacts of the version into `cache`."""
        with self._client() as client:
            from mlflow.artifacts import download_artifacts, list_artifacts

            uri = f"models:/{self.name}/{self._version(client)}"
            if MANIFEST not in {file.path for file in list_artifacts(artifact_uri=uri)}:
                raise PackageError(
                    f"{self.where}: no {MANIFEST}; clintune published no package there"
                )
            # The manifest alone tells whether the cache has the package already.
            with TemporaryDirectory() as scratch:
                file = download_artifacts(artifact_uri=f"{uri}/{MANIFEST}", dst_path=scratch)
                content = Path(file).read_bytes()

            def download(folder: Path, _: object) -> None:
                download_artifacts(uri, dst_path=str(folder))

            return fetch_whole(cache, self.where, content, download)

    def _version(self, client: Any) -> str:
        if self.version:
            return self.version
        if self.alias:
            return str(client.get_model_version_by_alias(self.name, self.alias).version)
        versions = client.search_model_versions(
            f"name = '{self.name}'", max_results=1, order_by=["version_number DESC"]
        )
        if not versions:
            raise PackageError(
                f"{self.where}: no such registered model; check the name and MLFLOW_TRACKING_URI"
            )
        return str(versions[0].version)

    @contextmanager
    def _client(self) -> Iterator[Any]:
        """Yield the client of MLflow; its errors become PackageError, with what to do."""
        if "MLFLOW_TRACKING_URI" not in os.environ:
            raise ConfigError(
                f"hub {self.where}: MLFLOW_TRACKING_URI is not set; "
                "set it to the address of the server"
            )

        # MLflow sends telemetry as soon as it is imported.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        try:
            from mlflow import MlflowClient
            from mlflow.exceptions import MlflowException
            from requests import RequestException
        except ImportError as error:
            raise ConfigError(
                f"hub {self.where}: MLflow is not installed; pip install 'clintune[mlflow]'"
            ) from error

        try:
            yield MlflowClient()
        except (MlflowException, RequestException) as error:
            raise PackageError(f"{self.where}: {_reason(error)}") from error


def _reason(error: Any) -> str:
    code = getattr(error, "error_code", type(error).__name__)
    if code in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"):
        return "no such model or version; check the address and MLFLOW_TRACKING_URI"
    if code in ("UNAUTHENTICATED", "PERMISSION_DENIED", "CUSTOMER_UNAUTHORIZED"):
        return (
            "access is denied; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, "
            "or MLFLOW_TRACKING_TOKEN"
        )
    return (
        f"MLflow refuses it ({code}); check name, alias and server (MLFLOW_TRACKING_URI), "
        "then run it again"
    )
