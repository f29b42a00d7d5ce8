"""Feast's offline store on the archive: Feast's own file store, and a clear answer about views that have no past."""

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
    """A view that says what is known now was asked for the past."""


class TollgateOfflineStore(DaskOfflineStore):
    """Point-in-time joins over the archive."""

    @staticmethod
    def get_historical_features(
        config: RepoConfig, feature_views: Sequence[FeatureView], *args: Any, **kwargs: Any
    ) -> RetrievalJob:
        """As Feast's file store.

        Raises:
            NotHistorical: what is known now is no value of the past, whichever payment it was served with.
        """
        for view in feature_views:
            if view.online:
                raise NotHistorical(
                    f"{view.name} says what is known now, without a past; what was served is in the services `served_features`"
                    " (by transaction) and `fraud_history` (by card)"
                )
        return DaskOfflineStore.get_historical_features(config, feature_views, *args, **kwargs)
