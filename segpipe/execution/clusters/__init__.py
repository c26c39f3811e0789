"""Kinds of clusters by name, and what other packages register: one file each, but batch systems in one."""

from segpipe.execution.clusters.base import CLUSTERS, ClusterOptions, Pool, cluster_options

__all__ = ["CLUSTERS", "ClusterOptions", "Pool", "cluster_options"]
