"""WHERE: replicas of models become bundles on nodes, and the placement groups that reserve them.

Importing this does not import Ray; the names that need it do when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from curator.exports import imported_on_use

_HOMES = {
    "ReplicaBundleSpec": "curator.placement.bundles",
    "ReplicaGroup": "curator.placement.acquisition",
    "ReplicaPlacement": "curator.placement.replicas",
    "ReplicaPlan": "curator.placement.replicas",
    "ReplicaRequest": "curator.placement.replicas",
    "acquire_groups": "curator.placement.acquisition",
    "acquire_replicas": "curator.placement.acquisition",
    "build_pg": "curator.placement.groups",
    "build_replica_pg": "curator.placement.groups",
    "bundle_node_ids": "curator.placement.groups",
    "find_pg": "curator.placement.groups",
    "get_bundle_node_ip": "curator.placement.in_bundle",
    "get_free_port_in_bundle": "curator.placement.in_bundle",
    "lost_bundles": "curator.placement.groups",
    "plan_replica_bundle_shape": "curator.placement.bundles",
    "plan_replicas": "curator.placement.packing",
    "rebuild": "curator.placement.acquisition",
    "remove_named_pgs_with_prefix": "curator.placement.groups",
    "remove_pg": "curator.placement.groups",
    "run_in_bundle": "curator.placement.in_bundle",
    "render_replicas": "curator.placement.table",
    "replicas_as_json": "curator.placement.table",
}

__all__ = sorted(_HOMES)

if TYPE_CHECKING:
    from curator.placement.acquisition import ReplicaGroup as ReplicaGroup
    from curator.placement.acquisition import acquire_groups as acquire_groups
    from curator.placement.acquisition import acquire_replicas as acquire_replicas
    from curator.placement.acquisition import rebuild as rebuild
    from curator.placement.bundles import ReplicaBundleSpec as ReplicaBundleSpec
    from curator.placement.bundles import plan_replica_bundle_shape as plan_replica_bundle_shape
    from curator.placement.groups import build_pg as build_pg
    from curator.placement.groups import build_replica_pg as build_replica_pg
    from curator.placement.groups import bundle_node_ids as bundle_node_ids
    from curator.placement.groups import find_pg as find_pg
    from curator.placement.groups import lost_bundles as lost_bundles
    from curator.placement.groups import remove_named_pgs_with_prefix as remove_named_pgs_with_prefix
    from curator.placement.groups import remove_pg as remove_pg
    from curator.placement.in_bundle import get_bundle_node_ip as get_bundle_node_ip
    from curator.placement.in_bundle import get_free_port_in_bundle as get_free_port_in_bundle
    from curator.placement.in_bundle import run_in_bundle as run_in_bundle
    from curator.placement.packing import plan_replicas as plan_replicas
    from curator.placement.replicas import ReplicaPlacement as ReplicaPlacement
    from curator.placement.replicas import ReplicaPlan as ReplicaPlan
    from curator.placement.replicas import ReplicaRequest as ReplicaRequest
    from curator.placement.table import render_replicas as render_replicas
    from curator.placement.table import replicas_as_json as replicas_as_json

__getattr__ = imported_on_use(__name__, _HOMES)
