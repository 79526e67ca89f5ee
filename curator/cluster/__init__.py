"""ON WHAT: the Ray session that executors run in, its nodes, and what fits on them.

Importing this does not import Ray; the names that need it do when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from curator.exports import imported_on_use

_HOMES = {
    "NodeOffer": "curator.cluster.capacity",
    "Packing": "curator.cluster.capacity",
    "UNLIMITED": "curator.cluster.capacity",
    "RaySession": "curator.cluster.session",
    "WorkerAllocation": "curator.cluster.topology",
    "actor_options": "curator.cluster.options",
    "alive_nodes": "curator.cluster.topology",
    "available_offers": "curator.cluster.topology",
    "check_runtime_env": "curator.cluster.runtime_env",
    "check_total_gpu_capacity": "curator.cluster.topology",
    "exclude_head": "curator.cluster.options",
    "execute_setup_on_node": "curator.cluster.node_setup",
    "explain_misfit": "curator.cluster.capacity",
    "get_available_cpu_gpu_resources": "curator.cluster.topology",
    "get_gpu_topology": "curator.cluster.topology",
    "get_head_node_id": "curator.cluster.topology",
    "get_worker_metadata_and_node_id": "curator.cluster.topology",
    "ignore_ray_head_node": "curator.cluster.options",
    "is_head_node": "curator.cluster.topology",
    "offers_from_nodes": "curator.cluster.capacity",
    "pack": "curator.cluster.capacity",
    "register_loguru_serializer": "curator.cluster.loguru_serializer",
    "ray_session": "curator.cluster.session",
    "workers_that_fit": "curator.cluster.capacity",
}

__all__ = sorted(_HOMES)

if TYPE_CHECKING:
    from curator.cluster.capacity import UNLIMITED as UNLIMITED
    from curator.cluster.capacity import NodeOffer as NodeOffer
    from curator.cluster.capacity import Packing as Packing
    from curator.cluster.capacity import explain_misfit as explain_misfit
    from curator.cluster.capacity import offers_from_nodes as offers_from_nodes
    from curator.cluster.capacity import pack as pack
    from curator.cluster.capacity import workers_that_fit as workers_that_fit
    from curator.cluster.loguru_serializer import register_loguru_serializer as register_loguru_serializer
    from curator.cluster.node_setup import execute_setup_on_node as execute_setup_on_node
    from curator.cluster.options import actor_options as actor_options
    from curator.cluster.options import exclude_head as exclude_head
    from curator.cluster.options import ignore_ray_head_node as ignore_ray_head_node
    from curator.cluster.runtime_env import check_runtime_env as check_runtime_env
    from curator.cluster.session import RaySession as RaySession
    from curator.cluster.session import ray_session as ray_session
    from curator.cluster.topology import WorkerAllocation as WorkerAllocation
    from curator.cluster.topology import alive_nodes as alive_nodes
    from curator.cluster.topology import available_offers as available_offers
    from curator.cluster.topology import check_total_gpu_capacity as check_total_gpu_capacity
    from curator.cluster.topology import get_available_cpu_gpu_resources as get_available_cpu_gpu_resources
    from curator.cluster.topology import get_gpu_topology as get_gpu_topology
    from curator.cluster.topology import get_head_node_id as get_head_node_id
    from curator.cluster.topology import get_worker_metadata_and_node_id as get_worker_metadata_and_node_id
    from curator.cluster.topology import is_head_node as is_head_node

__getattr__ = imported_on_use(__name__, _HOMES)
