"""Feast's offline store on the archive: Feast's own file store, with a clear error for views that have no history."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from feast import FeatureView
from feast.errors import FeastError
from feast.infra.offline_stores.dask import DaskOfflineStore, DaskOfflineStoreConfig
from feast.infra.offline_stores.offline_store import RetrievalJob
from feast.repo_config import RepoConfig


class TollgateOfflineStoreConfig(DaskOfflineStoreConfig):
    """``offline_store`` of ``feature_store.yaml``."""

    type: Literal["features.feast_repo.offline_store.TollgateOfflineStore"]


class NotHistorical(FeastError):
    """A historical request for a view that has only current values."""


class TollgateOfflineStore(DaskOfflineStore):
    """Point-in-time joins over the archive."""

    @staticmethod
    def get_historical_features(
        config: RepoConfig, feature_views: Sequence[FeatureView], *args: Any, **kwargs: Any
    ) -> RetrievalJob:
        """As Feast's file store.

        Raises:
            NotHistorical: a requested view has only current values.
        """
        for view in feature_views:
            if view.online:
                raise NotHistorical(
                    f"{view.name} has only current values, no history; features as they were served are in the services"
                    " `served_features` (by transaction) and `fraud_history` (by card)"
                )
        return DaskOfflineStore.get_historical_features(config, feature_views, *args, **kwargs)
