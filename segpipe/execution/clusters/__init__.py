"""Kinds of clusters, by name: `threads`, `local`, `address`, and what other packages register."""

from segpipe.execution.clusters.base import CLUSTERS, ClusterOptions, Pool, cluster_options

__all__ = ["CLUSTERS", "ClusterOptions", "Pool", "cluster_options"]
